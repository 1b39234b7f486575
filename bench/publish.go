package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What is published: the figures of the last run of each pair, and the page and the picture that
// are made of them.
const (
	publishedFigures = "benchmarks.json"
	publishedPage    = "benchmarks.md"
	publishedPicture = "benchmarks.svg"
)

// In the page the figures stand between these lines.
const (
	figuresBegin = "<!-- what follows is written by make bench-peers PUBLISH=docs -->\n"
	figuresEnd   = "<!-- until here -->\n"
)

// published are the figures of pairs, each of one run on one machine.
type published struct {
	Pairs []measuredPair `json:"pairs"`
}

// publish puts pairs in the place of their last figures in the directory, and writes its page and
// its picture anew.
func publish(directory string, fresh []measuredPair) error {
	figures, err := readPublished(directory)
	if err != nil {
		return err
	}
	for _, p := range fresh {
		if i := slices.IndexFunc(figures.Pairs, func(old measuredPair) bool { return old.Name == p.Name }); i >= 0 {
			figures.Pairs[i] = p
		} else {
			figures.Pairs = append(figures.Pairs, p)
		}
	}
	slices.SortFunc(figures.Pairs, func(a, b measuredPair) int { return order(a.Name) - order(b.Name) })
	if err := save(filepath.Join(directory, publishedFigures), figures); err != nil {
		return err
	}
	page, err := os.ReadFile(filepath.Join(directory, publishedPage))
	if err != nil {
		return fmt.Errorf("cannot publish: %w", err)
	}
	before, _, begins := strings.Cut(string(page), figuresBegin)
	_, after, ends := strings.Cut(string(page), figuresEnd)
	if !begins || !ends {
		return fmt.Errorf("cannot publish: %s has no place for figures", publishedPage)
	}
	text := before + figuresBegin + figures.tables() + figuresEnd + after
	if err := os.WriteFile(filepath.Join(directory, publishedPage), []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot publish: %w", err)
	}
	if err := os.WriteFile(filepath.Join(directory, publishedPicture), []byte(figures.picture()), 0o644); err != nil {
		return fmt.Errorf("cannot publish: %w", err)
	}
	return nil
}

func readPublished(directory string) (published, error) {
	var figures published
	text, err := os.ReadFile(filepath.Join(directory, publishedFigures))
	if errors.Is(err, fs.ErrNotExist) {
		return figures, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &figures)
	}
	if err != nil {
		return figures, fmt.Errorf("cannot read the figures of before: %w", err)
	}
	return figures, nil
}

// order gives a pair's place.
func order(name string) int {
	return slices.IndexFunc(pairs, func(p pair) bool { return p.name == name })
}

// tables gives the picture and a section for each pair, in Markdown.
func (f published) tables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n![sizes of the updates](%s)\n", publishedPicture)
	for _, measured := range f.Pairs {
		p, _ := pairNamed(measured.Name)
		fmt.Fprintf(&b, "\n### %s\n\n", strings.ToUpper(p.about[:1])+p.about[1:])
		fmt.Fprintf(&b, "%s, %s, %d cores, Linux %s, load %s before and %s after.\n\n", measured.Date,
			measured.Machine.Processor, measured.Machine.Cores, measured.Machine.Kernel, measured.Machine.LoadBefore, measured.Machine.LoadAfter)
		b.WriteString("| | size | create | memory | apply | memory | entries that differ |\n|---|--:|--:|--:|--:|--:|--:|\n")
		for _, m := range measured.Made {
			name := strings.ReplaceAll(m.Way, "|", `\|`)
			if m.Ours {
				name = "**" + name + "**"
			}
			fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(m.cells(), " | "))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// The measures of the picture, in its units.
const (
	pictureWidth = 900
	labelWidth   = 230
	valueWidth   = 90
	barHeight    = 16
	barPitch     = 20
	titleHeight  = 40
)

// picture draws the sizes: a bar for each way, longest the largest of its pair.
func (f published) picture() string {
	var b strings.Builder
	y := 0
	for _, measured := range f.Pairs {
		var bars []made
		largest := int64(1)
		for _, m := range measured.Made {
			if m.Bytes > 0 && !m.Yardstick && m.Refused == "" {
				bars = append(bars, m)
				largest = max(largest, m.Bytes)
			}
		}
		slices.SortStableFunc(bars, func(a, b made) int { return int(min(max(a.Bytes-b.Bytes, -1), 1)) })
		p, _ := pairNamed(measured.Name)
		y += titleHeight
		fmt.Fprintf(&b, "<text x=\"8\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y-12, html.EscapeString(p.about))
		for _, m := range bars {
			color := "#9aa5b1"
			if m.Ours {
				color = "#2f7d5b"
			}
			width := max(1, int(m.Bytes*(pictureWidth-labelWidth-valueWidth)/largest))
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-8, y+barHeight-4, html.EscapeString(m.Way))
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", labelWidth, y, width, barHeight, color)
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">%s</text>\n", labelWidth+width+6, y+barHeight-4, megabytes(m.Bytes))
			y += barPitch
		}
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n%s</svg>\n",
		pictureWidth, y+16, pictureWidth, b.String())
}
