package bundle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Trust says whose bundles are accepted.
type Trust struct {
	Keys Keys
	// Threshold is how many different ones of them have to have signed; at least 1.
	Threshold int
	// Now tells which have expired.
	Now time.Time
}

// ErrUntrusted: too few trusted keys have signed.
var ErrUntrusted = errors.New("it is not signed by whom this machine trusts")

func untrusted(format string, arguments ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUntrusted}, arguments...)...)
}

// valid gives the keys that have not expired, and the names of those that have.
func (t Trust) valid() (valid Keys, expired []string) {
	for _, key := range t.Keys {
		if !key.NotAfter.IsZero() && t.Now.After(key.NotAfter) {
			expired = append(expired, fmt.Sprintf("%s (on %s)", key.Name, key.NotAfter.Format(time.DateOnly)))
			continue
		}
		valid = append(valid, key)
	}
	return valid, expired
}

// open verifies an envelope and gives what was signed, and the names of the keys that
// signed it.
func (t Trust) open(ctx context.Context, envelope *dsse.Envelope) (payload []byte, signers []string, err error) {
	if t.Threshold < 1 {
		return nil, nil, untrusted("a threshold of %d would accept anything", t.Threshold)
	}
	keys, expired := t.valid()
	hint := ""
	if len(expired) > 0 {
		hint = "; expired are " + strings.Join(expired, ", ")
	}
	if len(keys) < t.Threshold {
		return nil, nil, untrusted("it takes %d signatures, and %d keys are trusted%s", t.Threshold, len(keys), hint)
	}
	verifiers := make([]dsse.Verifier, len(keys))
	for i, key := range keys {
		verifiers[i] = key
	}
	verifier, err := dsse.NewMultiEnvelopeVerifier(t.Threshold, verifiers...)
	if err != nil {
		return nil, nil, err
	}
	accepted, payload, err := verifier.VerifyAndDecode(ctx, envelope)
	if err != nil {
		return nil, nil, untrusted("it takes %d signatures, and %d of %d are of trusted keys%s", t.Threshold, len(accepted), len(envelope.Signatures), hint)
	}
	for _, a := range accepted {
		for _, key := range keys {
			if key.id == a.KeyID {
				signers = append(signers, key.Name)
			}
		}
	}
	return payload, signers, nil
}

// parseEnvelope reads an envelope, and believes nothing of it.
func parseEnvelope(text []byte) (*dsse.Envelope, error) {
	envelope := &dsse.Envelope{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields() // no signature covers them
	if err := decoder.Decode(envelope); err != nil {
		return nil, malformed("its envelope cannot be read: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, malformed("something follows in its envelope")
	}
	if envelope.PayloadType != ManifestType {
		return nil, malformed("what is signed is %q instead of %q; a newer tbupdate may know it", envelope.PayloadType, ManifestType)
	}
	return envelope, nil
}

// sealManifest gives an envelope without signatures.
func sealManifest(m *Manifest) (*dsse.Envelope, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return &dsse.Envelope{
		PayloadType: ManifestType, Payload: base64.StdEncoding.EncodeToString(text), Signatures: []dsse.Signature{},
	}, nil
}

// toSign gives the bytes that a signature of the envelope is of.
func toSign(envelope *dsse.Envelope) ([]byte, error) {
	payload, err := envelope.DecodeB64Payload()
	if err != nil {
		return nil, malformed("its envelope cannot be read: %w", err)
	}
	return dsse.PAE(envelope.PayloadType, payload), nil
}

// addSignature adds a signature, which must be of this key, in place of an earlier one
// of the same key.
func addSignature(envelope *dsse.Envelope, key *PublicKey, signature []byte) error {
	message, err := toSign(envelope)
	if err != nil {
		return err
	}
	if err := key.Verify(context.Background(), message, signature); err != nil {
		return fmt.Errorf("cannot sign with the key %s: %w", key.Name, err)
	}
	kept := envelope.Signatures[:0]
	for _, s := range envelope.Signatures {
		if s.KeyID != key.id {
			kept = append(kept, s)
		}
	}
	envelope.Signatures = append(kept, dsse.Signature{KeyID: key.id, Sig: base64.StdEncoding.EncodeToString(signature)})
	return nil
}
