package cache

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBuiltOnce(t *testing.T) {
	s := Store{Directory: t.TempDir()}
	var built atomic.Int32
	build := func(path string) error {
		built.Add(1)
		return os.WriteFile(path, []byte("thing"), 0o600)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			path, err := s.Get("thing", KeyOf("a"), build)
			if err != nil {
				t.Error(err)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != "thing" {
				t.Errorf("it holds %q, %v", content, err)
			}
		})
	}
	all.Wait()
	if built.Load() != 1 {
		t.Errorf("it was built %d times", built.Load())
	}
	other, err := s.Get("thing", KeyOf("b"), build)
	if err != nil || built.Load() != 2 {
		t.Errorf("another key gave %s, %v after %d builds", other, err, built.Load())
	}
}

func TestHalfBuiltIsNotKept(t *testing.T) {
	s := Store{Directory: t.TempDir()}
	broken := errors.New("broken")
	if _, err := s.Get("thing", KeyOf(1), func(path string) error {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		return broken
	}); !errors.Is(err, broken) {
		t.Fatalf("the error is %v", err)
	}
	path, err := s.Get("thing", KeyOf(1), func(path string) error {
		if _, err := os.Lstat(path); err == nil {
			t.Error("what was half-built is in the way")
		}
		return os.Mkdir(path, 0o700)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestUnusedGoes(t *testing.T) {
	s := Store{Directory: t.TempDir()}
	get := func(key int) string {
		path, err := s.Get("thing", KeyOf(key), func(path string) error { return os.WriteFile(path, nil, 0o600) })
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, used := get(1), get(2)
	past := time.Now().Add(-2 * unused)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	get(3)
	left, err := filepath.Glob(filepath.Join(s.Directory, "thing-*"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil || len(left) != 2 {
		t.Errorf("what nobody used is still there: %q", left)
	}
	if _, err := os.Stat(used); err != nil {
		t.Error(err)
	}
}
