package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/delta/frames"
)

// writeKeys writes a pair of keys.
func writeKeys(name string) error {
	key, err := bundle.GenerateKey(filepath.Base(name))
	if err != nil {
		return err
	}
	private, err := key.PrivateText()
	if err != nil {
		return err
	}
	public, err := key.PublicText()
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".key", private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(name+".pub", public, 0o644)
}

// writeBundle makes a bundle as a vendor does, with a payload for each origin; that of "" makes
// the whole tree.
func writeBundle(path, keyFile, version, target string, origins []string, updater string) error {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := bundle.ParsePrivateKey("test", text)
	if err != nil {
		return err
	}
	m := &bundle.Manifest{Product: "gateway", Hardware: []string{"a"}, Version: version, MinimumUpdater: updater}
	var payloads []io.ReadSeeker
	for _, origin := range origins {
		payload, err := os.CreateTemp(filepath.Dir(path), "payload-*")
		if err != nil {
			return err
		}
		defer os.Remove(payload.Name())
		defer payload.Close()
		stats, err := frames.Create(context.Background(), payload, origin, target, frames.Options{Level: frames.Fast})
		if err != nil {
			return err
		}
		described := bundle.Payload{Written: int64(stats.Header.Totals.Written)}
		if origin != "" {
			digest := bundle.Digest(*stats.Header.Origin)
			described.From = &digest
		}
		m.Tree, m.TreeSize = bundle.Digest(stats.Header.Target), stats.TreeSize
		m.Payloads = append(m.Payloads, described)
		payloads = append(payloads, payload)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := bundle.Write(context.Background(), f, m, payloads, key); err != nil {
		return err
	}
	return f.Close()
}
