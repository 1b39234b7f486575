package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// pair is two trees, of which the second is to be made of the first.
type pair struct {
	name, about string
	// packs is false for what no level of zstd makes smaller, however long it tries.
	packs bool
	// make gives the trees; directory is for what has to be made.
	make func(ctx context.Context, directory string) (oldTree, newTree string, err error)
}

// pairs are the updates that are made in every way.
var pairs = []pair{
	{"security", "Debian 12 to its security updates, a newer kernel among them", true, debian("base", "security")},
	{"features", "a few hundred megabytes of packages added to that", true, debian("security", "features")},
	{"next", "Debian 12 to Debian 13", true, debian("base", "next")},
	{"big", "a file of 2 GiB, 1 % of its blocks changed, 1 MiB inserted in the middle", false, bigFile},
	{"many", "200,000 small files, 1 % of them changed", true, manyFiles},
}

// trial is no pair to measure, but one that shows in a minute whether all ways go.
var trial = pair{"trial", "two files, of which one changed", true, fewFiles}

// level is the option of zstd for what does not pack by itself.
func (p pair) level() string {
	if p.packs {
		return "-19"
	}
	return "-3"
}

// debian gives two of the trees that demo/trees makes for measurements.
func debian(oldName, newName string) func(context.Context, string) (string, string, error) {
	return func(ctx context.Context, _ string) (string, string, error) {
		trees, err := findTrees(ctx, "bench")
		return filepath.Join(trees, oldName), filepath.Join(trees, newName), err
	}
}

const (
	bigBlock  = 4 << 10
	bigBlocks = 2 << 30 / bigBlock
	bigChange = 100 // one block of so many
	bigInsert = 1 << 20

	manyCount  = 200_000
	manyChange = 100
)

// bigFile makes a file that nothing packs.
func bigFile(_ context.Context, directory string) (string, string, error) {
	return twoTrees(directory, func(oldTree, newTree string) error {
		return intoFile(filepath.Join(oldTree, "big"), func(before *bufio.Writer) error {
			return intoFile(filepath.Join(newTree, "big"), func(after *bufio.Writer) error {
				random := rand.NewChaCha8([32]byte{1})
				block, other := make([]byte, bigBlock), make([]byte, bigInsert)
				for i := range bigBlocks {
					_, _ = random.Read(block) // never fails
					if _, err := before.Write(block); err != nil {
						return err
					}
					if i == bigBlocks/2 {
						_, _ = random.Read(other)
						if _, err := after.Write(other); err != nil {
							return err
						}
					}
					if random.Uint64()%bigChange == 0 {
						_, _ = random.Read(block)
					}
					if _, err := after.Write(block); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
}

// fewFiles makes two.
func fewFiles(_ context.Context, directory string) (string, string, error) {
	return twoTrees(directory, func(oldTree, newTree string) error {
		text := strings.Repeat("a line of text\n", 10_000)
		for name, content := range map[string]string{
			filepath.Join(oldTree, "changed"): text, filepath.Join(newTree, "changed"): text + "more", filepath.Join(oldTree, "same"): text, filepath.Join(newTree, "same"): text,
		} {
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
				return err
			}
		}
		return sameTimes(oldTree, newTree)
	})
}

// manyFiles makes files of some hundred bytes of text.
func manyFiles(_ context.Context, directory string) (string, string, error) {
	return twoTrees(directory, func(oldTree, newTree string) error {
		random := rand.New(rand.NewPCG(2, 2))
		for i := range manyCount {
			name := fmt.Sprintf("%03d/%06d.conf", i/1000, i)
			text := fmt.Appendf(nil, "# Settings of unit %d.\nname = \"%x\"\ninterval = %d\nthreshold = %d.%d\nenabled = %t\n",
				i, random.Uint64(), random.IntN(3600), random.IntN(100), random.IntN(10), random.IntN(2) == 0)
			changed := text
			if random.IntN(manyChange) == 0 {
				changed = fmt.Appendf(text[:len(text):len(text)], "interval = %d\n", random.IntN(3600))
			}
			for tree, content := range map[string][]byte{oldTree: text, newTree: changed} {
				if i%1000 == 0 {
					if err := os.Mkdir(filepath.Join(tree, filepath.Dir(name)), 0o755); err != nil {
						return err
					}
				}
				if err := os.WriteFile(filepath.Join(tree, name), content, 0o644); err != nil {
					return err
				}
			}
		}
		return sameTimes(oldTree, newTree)
	})
}

// sameTimes gives what did not change the time that it had.
func sameTimes(oldTree, newTree string) error {
	return filepath.WalkDir(newTree, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(newTree, path)
		if err != nil {
			return err
		}
		before, err := os.Stat(filepath.Join(oldTree, name))
		if err != nil {
			return err
		}
		after, err := entry.Info()
		if err != nil || !entry.IsDir() && after.Size() != before.Size() {
			return err
		}
		return os.Chtimes(path, before.ModTime(), before.ModTime())
	})
}

// twoTrees has two trees filled.
func twoTrees(directory string, fill func(oldTree, newTree string) error) (string, string, error) {
	oldTree, newTree := filepath.Join(directory, "old"), filepath.Join(directory, "new")
	for _, tree := range []string{oldTree, newTree} {
		if err := os.MkdirAll(tree, 0o755); err != nil {
			return "", "", err
		}
	}
	return oldTree, newTree, fill(oldTree, newTree)
}

// intoFile has a new file written.
func intoFile(path string, write func(*bufio.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
