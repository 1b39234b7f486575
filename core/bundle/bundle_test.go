package bundle_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/trebuchet-update/tbupdate/core/bundle"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func key(t testing.TB, name string) *bundle.PrivateKey {
	t.Helper()
	k, err := bundle.GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func trust(threshold int, keys ...*bundle.PrivateKey) bundle.Trust {
	t := bundle.Trust{Threshold: threshold, Now: now}
	for _, k := range keys {
		t.Keys = append(t.Keys, &k.PublicKey)
	}
	return t
}

func random(seed uint64, n int) []byte {
	source := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(source.Uint32())
	}
	return b
}

// content gives the payloads of the bundle that the tests use: a delta, and a full one of
// several pieces.
func content() [][]byte { return [][]byte{random(1, 1000), random(2, 2*bundle.PieceSize+5)} }

func manifest() *bundle.Manifest {
	return &bundle.Manifest{
		Product: "gateway", Hardware: []string{"a", "b"}, Version: "1.1", MinimumUpdater: "0.1", Tree: bundle.Digest{1}, TreeSize: 5,
		Kernel: "6.1", BootSize: 6, Notes: "Fixes\nthings.", Attributes: map[string]string{"channel": "stable"},
		Payloads: []bundle.Payload{{From: &bundle.Digest{2}, FromVersion: "1.0", Written: 7}, {Written: 8}},
	}
}

func write(t testing.TB, m *bundle.Manifest, payloads [][]byte, signers ...*bundle.PrivateKey) []byte {
	t.Helper()
	var sources []io.ReadSeeker
	for _, p := range payloads {
		sources = append(sources, bytes.NewReader(p))
	}
	var b bytes.Buffer
	if err := bundle.Write(t.Context(), &b, m, sources, signers...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pipe hides what a reader can do beside reading.
type pipe struct{ io.Reader }

func TestWhatIsWrittenIsRead(t *testing.T) {
	alice := key(t, "alice")
	m, payloads := manifest(), content()
	b := write(t, m, payloads, alice)
	for number := range payloads {
		r, err := bundle.NewReader(t.Context(), pipe{bytes.NewReader(b)}, trust(1, alice))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, r.Manifest); diff != "" {
			t.Errorf("manifest (-written +read):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"alice"}, r.Signers); diff != "" {
			t.Errorf("signers: %s", diff)
		}
		payload, err := r.Payload(number)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(payload)
		if err != nil || !bytes.Equal(got, payloads[number]) {
			t.Errorf("payload %d: %d bytes that are not those written, or an error: %v", number, len(got), err)
		}
	}
	r, err := bundle.NewReader(t.Context(), bytes.NewReader(b), trust(1, alice))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	m := manifest()
	m.Payloads[0].Size, m.Payloads[1].Size = 10, 20
	for name, c := range map[string]struct {
		tree bundle.Digest
		full bool
		want int
	}{
		"its origin": {bundle.Digest{2}, false, 0}, "another tree": {bundle.Digest{3}, false, 1}, "the full one": {bundle.Digest{2}, true, 1},
	} {
		if got := m.Choose(c.tree, c.full); got != c.want {
			t.Errorf("%s: payload %d instead of %d", name, got, c.want)
		}
	}
	m.Payloads = m.Payloads[:1]
	if got := m.Choose(bundle.Digest{3}, false); got != -1 {
		t.Errorf("a delta for another tree was chosen: %d", got)
	}
}

// TestEveryChangedByteIsNoticed changes one byte in each place of the head, and in some of
// the payloads. What was read before is what was written.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	alice := key(t, "alice")
	payloads := content()
	b := write(t, manifest(), payloads, alice)
	whole := bytes.Join(payloads, nil)
	head := len(b) - len(whole)
	places := []int{head, head + 999, head + 1000, head + 1000 + bundle.PieceSize, len(b) - 1}
	for i := range head {
		places = append(places, i)
	}
	for _, i := range places {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		r, err := bundle.NewReader(t.Context(), bytes.NewReader(changed), trust(1, alice))
		if err != nil {
			if !errors.Is(err, bundle.ErrMalformed) && !errors.Is(err, bundle.ErrUntrusted) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
			continue
		}
		err = r.Verify()
		if i < head {
			// What no signature covers, and means nothing: white space of JSON, the
			// order of its fields. There is none of it in what is written here.
			t.Errorf("byte %d of the head changed, and it was read", i)
		}
		if !errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

func TestNothingUnverifiedIsRead(t *testing.T) {
	alice := key(t, "alice")
	payloads := content()
	b := write(t, manifest(), payloads, alice)
	b[len(b)-1] ^= 1 // in the third piece of the second payload
	r, err := bundle.NewReader(t.Context(), bytes.NewReader(b), trust(1, alice))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := r.Payload(1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(payload)
	if !errors.Is(err, bundle.ErrDamaged) || !bytes.Equal(got, payloads[1][:2*bundle.PieceSize]) {
		t.Errorf("%d bytes were read, and the error is %v", len(got), err)
	}
}

func TestEveryCutIsNoticed(t *testing.T) {
	alice := key(t, "alice")
	b := write(t, manifest(), content(), alice)
	for n := 0; n < len(b); n += 1 + n/50 {
		r, err := bundle.NewReader(t.Context(), bytes.NewReader(b[:n]), trust(1, alice))
		if err == nil {
			err = r.Verify()
		}
		if !errors.Is(err, bundle.ErrMalformed) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(b), err)
		}
	}
	r, err := bundle.NewReader(t.Context(), bytes.NewReader(append(bytes.Clone(b), 0)), trust(1, alice))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("with a byte behind its end: %v", err)
	}
}

func TestWhoIsTrusted(t *testing.T) {
	alice, bob, eve := key(t, "alice"), key(t, "bob"), key(t, "eve")
	old := key(t, "old")
	old.NotAfter = now.Add(-time.Hour)
	fresh := key(t, "fresh")
	fresh.NotAfter = now.Add(time.Hour)
	twice := func(b []byte) []byte {
		return withEnvelope(t, b, func(e *dsse.Envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) })
	}
	renamed := func(b []byte) []byte {
		return withEnvelope(t, b, func(e *dsse.Envelope) { e.Signatures[0].KeyID = alice.ID() })
	}
	same := func(b []byte) []byte { return b }
	for name, c := range map[string]struct {
		signers []*bundle.PrivateKey
		change  func([]byte) []byte
		trust   bundle.Trust
		reason  string // "" is trusted
	}{
		"one of one":                 {[]*bundle.PrivateKey{alice}, same, trust(1, alice), ""},
		"one of two":                 {[]*bundle.PrivateKey{bob}, same, trust(1, alice, bob), ""},
		"two of two":                 {[]*bundle.PrivateKey{alice, bob}, same, trust(2, alice, bob), ""},
		"a stranger beside":          {[]*bundle.PrivateKey{eve, alice}, same, trust(1, alice), ""},
		"not expired":                {[]*bundle.PrivateKey{fresh}, same, trust(1, fresh), ""},
		"nobody":                     {nil, same, trust(1, alice), "0 of 0"},
		"a stranger":                 {[]*bundle.PrivateKey{eve}, same, trust(1, alice), "0 of 1"},
		"a stranger by another name": {[]*bundle.PrivateKey{eve}, renamed, trust(1, alice), "0 of 1"},
		"one of two needed":          {[]*bundle.PrivateKey{alice}, same, trust(2, alice, bob), "takes 2 signatures, and 1 of 1"},
		"one, twice":                 {[]*bundle.PrivateKey{alice}, twice, trust(2, alice, bob), "takes 2 signatures, and 1 of 2"},
		"expired":                    {[]*bundle.PrivateKey{old}, same, trust(1, old), "expired are old (on 2026-11-25)"},
		"no key":                     {[]*bundle.PrivateKey{alice}, same, trust(1), "0 keys are trusted"},
		"no threshold":               {[]*bundle.PrivateKey{alice}, same, trust(0, alice), "accept anything"},
		"more than there are":        {[]*bundle.PrivateKey{alice}, same, trust(2, alice), "1 keys are trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.change(write(t, manifest(), content(), c.signers...))
			_, err := bundle.NewReader(t.Context(), bytes.NewReader(b), c.trust)
			switch {
			case c.reason == "" && err != nil:
				t.Error(err)
			case c.reason != "" && (!errors.Is(err, bundle.ErrUntrusted) || !strings.Contains(err.Error(), c.reason)):
				t.Errorf("the error %v does not speak of %s", err, c.reason)
			}
		})
	}
}

// withEnvelope changes the envelope of a bundle.
func withEnvelope(t testing.TB, b []byte, change func(*dsse.Envelope)) []byte {
	t.Helper()
	begin := bytes.IndexByte(b, '{')
	decoder := json.NewDecoder(bytes.NewReader(b[begin:]))
	var envelope dsse.Envelope
	if err := decoder.Decode(&envelope); err != nil {
		t.Fatal(err)
	}
	rest := b[begin+int(decoder.InputOffset()):]
	change(&envelope)
	text, err := json.Marshal(envelope)
	if err != nil {
		t.Fatal(err)
	}
	head := binary.AppendUvarint([]byte(bundle.Magic), uint64(len(text)))
	return append(append(head, text...), rest...)
}

// TestRefusedManifests are signed, and still not believed.
func TestRefusedManifests(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":          `{`,
		"no product":       `{"version":"1","tree":"sha256:` + strings.Repeat("0", 64) + `","payloads":[{"size":1,"index":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
		"no payloads":      `{"product":"p","version":"1","payloads":[]}`,
		"a digest of MD5":  `{"product":"p","version":"1","tree":"md5:00","payloads":[{"size":1}]}`,
		"a negative size":  `{"product":"p","version":"1","payloads":[{"size":-1}]}`,
		"a size too large": `{"product":"p","version":"1","payloads":[{"size":9000000000000000000}]}`,
		"one origin twice": `{"product":"p","version":"1","payloads":[{"size":1},{"size":1}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := withEnvelope(t, write(t, manifest(), content()), func(e *dsse.Envelope) {
				e.Payload = base64.StdEncoding.EncodeToString([]byte(text))
			})
			// As if it had been signed so.
			if _, _, err := bundle.NewUnverifiedReader(bytes.NewReader(b)); !errors.Is(err, bundle.ErrMalformed) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestSignElsewhere has a key sign that never comes near the bundle.
func TestSignElsewhere(t *testing.T) {
	alice, bob := key(t, "alice"), key(t, "bob")
	b := write(t, manifest(), content())
	for _, signer := range []*bundle.PrivateKey{alice, bob, alice} {
		message, err := bundle.ToSign(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signer.Sign(t.Context(), message)
		if err != nil {
			t.Fatal(err)
		}
		var signed bytes.Buffer
		if err := bundle.Sign(&signed, bytes.NewReader(b), &signer.PublicKey, signature); err != nil {
			t.Fatal(err)
		}
		b = signed.Bytes()
	}
	r, err := bundle.NewReader(t.Context(), bytes.NewReader(b), trust(2, alice, bob))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
	if err := bundle.Sign(io.Discard, bytes.NewReader(b), &alice.PublicKey, make([]byte, 64)); err == nil {
		t.Error("a signature that is none was taken")
	}
}

func TestKeys(t *testing.T) {
	directory := t.TempDir()
	alice := key(t, "alice")
	alice.NotAfter = now
	public, err := alice.PublicText()
	if err != nil {
		t.Fatal(err)
	}
	private, err := alice.PrivateText()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"alice.pub": public, "again.pub": public, "alice.key": private, "README": []byte("keys")} {
		if err := os.WriteFile(filepath.Join(directory, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := bundle.ReadKeys(directory)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 1 || keys[0].ID() != alice.ID() || !keys[0].NotAfter.Equal(now) {
		t.Errorf("the keys are %+v", keys)
	}
	again, err := bundle.ParsePrivateKey("alice", private)
	if err != nil {
		t.Fatal(err)
	}
	if again.ID() != alice.ID() {
		t.Errorf("the key that was read is %s instead of %s", again.ID(), alice.ID())
	}
	for _, path := range []string{directory, filepath.Join(directory, "alice.pub")} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.ReadKeys(directory); err == nil || !strings.Contains(err.Error(), "others can write to "+path) {
			t.Errorf("what others can write to: %v", err)
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := bundle.ReadKeys(filepath.Join(directory, "none")); err != nil || keys != nil {
		t.Errorf("no directory gives %v, %v", keys, err)
	}
	if err := os.WriteFile(filepath.Join(directory, "bad.pub"), private, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.ReadKeys(directory); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("a private key among the public ones: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(write(f, manifest(), [][]byte{{1}, {2, 3}}, key(f, "alice")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, err := bundle.NewUnverifiedReader(bytes.NewReader(b))
		if err == nil {
			err = r.Verify()
		}
		if err != nil && !errors.Is(err, bundle.ErrMalformed) {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}
