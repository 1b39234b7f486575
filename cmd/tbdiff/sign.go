package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/bundle"
)

// signing is a signature that is to be added to a bundle.
type signing struct {
	file, out         string
	key               string // private key
	export            bool
	signature, public string // made elsewhere
}

func bundleSignCommand(s streams) *cobra.Command {
	c := signing{}
	command := &cobra.Command{
		Use:   "sign FILE -o FILE {--key FILE | --export | --import FILE --public FILE}",
		Short: "Add a signature to a bundle",
		Long: `Add a signature to the bundle FILE, or replace the one of the same key.

A key that is elsewhere signs in three steps: --export writes the bytes that are to be signed;
they are signed with Ed25519 there (openssl pkeyutl -sign -rawin -inkey KEY -in BYTES -out SIGNATURE);
--import takes the 64 bytes of the signature, and --public the public key that they are verified with.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.file = args[0]
			return c.run(cmd.Context(), s)
		},
	}
	flags := command.Flags()
	flags.StringVar(&c.key, "key", "", "private key that signs")
	flags.BoolVar(&c.export, "export", false, "write the bytes that are to be signed")
	flags.StringVar(&c.signature, "import", "", "signature that was made elsewhere")
	flags.StringVar(&c.public, "public", "", "public key of that signature")
	flags.StringVarP(&c.out, "output", "o", "", "file that the result goes to; it may be FILE itself")
	return command
}

func (c *signing) run(ctx context.Context, s streams) error {
	ways := 0
	for _, way := range []bool{c.key != "", c.export, c.signature != ""} {
		if way {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usage("say one of --key, --export and --import")
	case (c.signature != "") != (c.public != ""):
		return usage("--import and --public go together")
	case c.out == "":
		return usage("say with -o where the result goes")
	}
	if err := c.write(ctx, s); err != nil {
		return fail(fmt.Errorf("cannot sign %q: %w", c.file, sentence(err)), unwritten)
	}
	return nil
}

func (c *signing) write(ctx context.Context, s streams) error {
	file, err := os.Open(c.file)
	if err != nil {
		return fmt.Errorf("cannot open the bundle: %w", err)
	}
	defer file.Close()
	message, err := bundle.ToSign(file)
	if err != nil {
		return err
	}
	result := func(w io.Writer) error {
		_, err := w.Write(message)
		return err
	}
	if !c.export {
		key, signature, err := c.sign(ctx, message)
		if err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		result = func(w io.Writer) error { return bundle.Sign(w, file, key, signature) }
	}
	o, err := openOutput(c.out, s.out)
	if err != nil {
		return err
	}
	if err := result(o); err != nil {
		return errors.Join(err, o.discard())
	}
	return o.publish()
}

// sign gives the signature and its key.
func (c *signing) sign(ctx context.Context, message []byte) (*bundle.PublicKey, []byte, error) {
	if c.key != "" {
		key, err := readPrivateKey(c.key)
		if err != nil {
			return nil, nil, err
		}
		signature, err := key.Sign(ctx, message)
		return &key.PublicKey, signature, err
	}
	text, err := os.ReadFile(c.public)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the public key: %w", err)
	}
	key, err := bundle.ParsePublicKey(nameOfKey(c.public), text)
	if err != nil {
		return nil, nil, err
	}
	signature, err := os.ReadFile(c.signature)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the signature: %w", err)
	}
	return key, signature, nil
}

// nameOfKey gives the name of the key in a file.
func nameOfKey(path string) string {
	name := filepath.Base(path)
	return strings.TrimSuffix(strings.TrimSuffix(name, ".key"), ".pub")
}

func readPrivateKey(path string) (*bundle.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the private key: %w", err)
	}
	return bundle.ParsePrivateKey(nameOfKey(path), text)
}

func readPrivateKeys(paths []string) (keys []*bundle.PrivateKey, err error) {
	for _, path := range paths {
		key, err := readPrivateKey(path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func keysCommand(s streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "keys",
		Short: "Make keys that sign bundles",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return usage("say what to do; see tbdiff keys --help") },
	}
	command.AddCommand(keysGenerateCommand(s))
	return command
}

func keysGenerateCommand(s streams) *cobra.Command {
	var notAfter string
	command := &cobra.Command{
		Use:   "generate NAME [--not-after DATE]",
		Short: "Make a pair of keys: NAME.key, which is secret, and NAME.pub for machines",
		Long: `Make a pair of keys: NAME.key, which is secret, and NAME.pub, which goes into the directory
trust.keys of the machines. Files that are there are not replaced. The key's id is printed.`,
		Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := generateKey(args[0], notAfter)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, id)
			return failOutput(err)
		},
	}
	command.Flags().StringVar(&notAfter, "not-after", "", "day on which the key expires, such as 2030-01-31")
	return command
}

func generateKey(name, notAfter string) (id string, err error) {
	key, err := bundle.GenerateKey(filepath.Base(name))
	if err != nil {
		return "", fail(err, unwritten)
	}
	if notAfter != "" {
		if key.NotAfter, err = time.Parse(time.DateOnly, notAfter); err != nil {
			return "", usage("%q is not a day such as 2030-01-31", notAfter)
		}
	}
	public, err := key.PublicText()
	if err != nil {
		return "", fail(err, unwritten)
	}
	private, err := key.PrivateText()
	if err != nil {
		return "", fail(err, unwritten)
	}
	// The secret one first: a public key without it would be of no use.
	for _, file := range []struct {
		path string
		text []byte
		mode os.FileMode
	}{{name + ".key", private, 0o600}, {name + ".pub", public, 0o644}} {
		if err := writeNew(file.path, file.text, file.mode); err != nil {
			return "", fail(fmt.Errorf("cannot write the key %q: %w", file.path, err), "")
		}
	}
	return key.ID(), nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, text []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}
