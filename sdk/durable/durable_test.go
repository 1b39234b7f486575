package durable

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	text := strings.Repeat("content", 100_000)
	size, sum, err := Copy(t.Context(), path, strings.NewReader(text))
	if err != nil || size != uint64(len(text)) || sum != digestOf(text) {
		t.Errorf("%d bytes, %s, %v", size, sum, err)
	}
	if sum, err := Digest(t.Context(), path); err != nil || sum != digestOf(text) {
		t.Errorf("%s %v", sum, err)
	}
	if _, _, err := Copy(t.Context(), path, strings.NewReader("")); !errors.Is(err, os.ErrExist) {
		t.Errorf("Copy over a file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Copy(ctx, path+"2", strings.NewReader(text)); !errors.Is(err, context.Canceled) {
		t.Errorf("Copy with a cancelled context: %v", err)
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := Create(target, []byte("safe")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := Create(link, []byte("x")); err == nil {
		t.Error("Create followed a link")
	}
	if err := Overwrite(link, 0, []byte("x")); err == nil {
		t.Error("Overwrite followed a link")
	}
	if _, err := Digest(t.Context(), link); err == nil {
		t.Error("Digest followed a link")
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "safe" {
		t.Errorf("%q %v", got, err)
	}
}

func TestOverwriteStaysWithinTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Create(path, []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		offset int64
		data   string
		want   string // "" for an error
	}{{0, "ab", "ab23456789"}, {8, "yz", "ab234567yz"}, {9, "xx", ""}, {-1, "x", ""}, {11, "", ""}} {
		err := Overwrite(path, test.offset, []byte(test.data))
		if (err == nil) != (test.want != "") {
			t.Errorf("%q at %d: %v", test.data, test.offset, err)
		}
		if got, _ := os.ReadFile(path); test.want != "" && string(got) != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
