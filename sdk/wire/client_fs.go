package wire

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

type fsClient struct {
	*Plugin
	client pluginv1.FSClient
}

// NewFS makes an sdk.FS of a connection to a plugin of kind fs.
func NewFS(conn grpc.ClientConnInterface) sdk.FS {
	return &fsClient{Plugin: NewPlugin(conn), client: pluginv1.NewFSClient(translated{conn})}
}

func (c *fsClient) Volume(ctx context.Context) (sdk.Volume, error) {
	r, err := c.client.Volume(ctx, &pluginv1.VolumeRequest{})
	if err != nil {
		return sdk.Volume{}, err
	}
	return fromVolume(r.GetVolume()), nil
}

func (c *fsClient) Prepare(ctx context.Context) error {
	_, err := c.client.Prepare(ctx, &pluginv1.PrepareRequest{})
	return err
}

func (c *fsClient) List(ctx context.Context) ([]sdk.Subvolume, error) {
	r, err := c.client.List(ctx, &pluginv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	return convert(r.GetSubvolumes(), fromSubvolume), nil
}

func (c *fsClient) Lookup(ctx context.Context, name string) (sdk.Subvolume, error) {
	r, err := c.client.Lookup(ctx, &pluginv1.LookupRequest{Name: []byte(name)})
	return answered(r, err)
}

func (c *fsClient) Get(ctx context.Context, id sdk.Identity) (sdk.Subvolume, error) {
	r, err := c.client.Get(ctx, &pluginv1.GetRequest{Identity: []byte(id)})
	return answered(r, err)
}

func (c *fsClient) Snapshot(ctx context.Context, from sdk.Identity, to string, readOnly bool) (sdk.Subvolume, error) {
	r, err := c.client.Snapshot(ctx, &pluginv1.SnapshotRequest{From: []byte(from), To: []byte(to), ReadOnly: readOnly})
	return answered(r, err)
}

func (c *fsClient) Rename(ctx context.Context, id sdk.Identity, to string) error {
	_, err := c.client.Rename(ctx, &pluginv1.RenameRequest{Identity: []byte(id), To: []byte(to)})
	return err
}

func (c *fsClient) Exchange(ctx context.Context, name string, id sdk.Identity) error {
	_, err := c.client.Exchange(ctx, &pluginv1.ExchangeRequest{Name: []byte(name), Identity: []byte(id)})
	return err
}

func (c *fsClient) Delete(ctx context.Context, id sdk.Identity) error {
	_, err := c.client.Delete(ctx, &pluginv1.DeleteRequest{Identity: []byte(id)})
	return err
}

func (c *fsClient) Seal(ctx context.Context, id sdk.Identity) error {
	_, err := c.client.Seal(ctx, &pluginv1.SealRequest{Identity: []byte(id)})
	return err
}

func (c *fsClient) Flush(ctx context.Context) error {
	_, err := c.client.Flush(ctx, &pluginv1.FlushRequest{})
	return err
}

func (c *fsClient) Default(ctx context.Context) (sdk.Subvolume, error) {
	r, err := c.client.Default(ctx, &pluginv1.DefaultRequest{})
	return answered(r, err)
}

func (c *fsClient) SetDefault(ctx context.Context, id sdk.Identity) error {
	_, err := c.client.SetDefault(ctx, &pluginv1.SetDefaultRequest{Identity: []byte(id)})
	return err
}

func (c *fsClient) KernelArguments(ctx context.Context, id sdk.Identity) ([]string, error) {
	r, err := c.client.KernelArguments(ctx, &pluginv1.KernelArgumentsRequest{Identity: []byte(id)})
	if err != nil {
		return nil, err
	}
	return fromBytes(r.GetArguments()), nil
}

func (c *fsClient) Booted(ctx context.Context, commandLine string) (sdk.Subvolume, error) {
	r, err := c.client.Booted(ctx, &pluginv1.BootedRequest{CommandLine: []byte(commandLine)})
	return answered(r, err)
}

func (c *fsClient) MountLine(ctx context.Context, id sdk.Identity, directory string) (string, error) {
	r, err := c.client.MountLine(ctx, &pluginv1.MountLineRequest{Identity: []byte(id), Directory: []byte(directory)})
	if err != nil {
		return "", err
	}
	return string(r.GetLine()), nil
}

func (c *fsClient) StateDirectory(ctx context.Context) (string, error) {
	r, err := c.client.StateDirectory(ctx, &pluginv1.StateDirectoryRequest{})
	if err != nil {
		return "", err
	}
	return string(r.GetPath()), nil
}

// Changes calls emit in the caller's goroutine.
func (c *fsClient) Changes(ctx context.Context, a, b sdk.Identity, emit func(sdk.Change) error) error {
	// Leaving early, for emit's error, ends the call in the plugin as well.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.Changes(ctx, &pluginv1.ChangesRequest{A: []byte(a), B: []byte(b)})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, change := range r.GetChanges() {
			if err := emit(fromChange(change)); err != nil {
				return err
			}
		}
	}
}

// subvolumeResponse is an answer that holds one subvolume.
type subvolumeResponse interface{ GetSubvolume() *pluginv1.Subvolume }

func answered(r subvolumeResponse, err error) (sdk.Subvolume, error) {
	if err != nil {
		return sdk.Subvolume{}, err
	}
	return fromSubvolume(r.GetSubvolume()), nil
}
