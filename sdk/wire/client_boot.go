package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

type bootClient struct {
	*Plugin
	client pluginv1.BootClient
}

// NewBoot makes an sdk.Boot of a connection to a plugin of kind boot.
func NewBoot(conn grpc.ClientConnInterface) sdk.Boot {
	return &bootClient{Plugin: NewPlugin(conn), client: pluginv1.NewBootClient(translated{conn})}
}

func (c *bootClient) Inspect(ctx context.Context, root string) (sdk.KernelSet, error) {
	r, err := c.client.Inspect(ctx, &pluginv1.InspectRequest{Root: []byte(root)})
	if err != nil {
		return sdk.KernelSet{}, err
	}
	return fromKernelSet(r.GetKernelSet()), nil
}

func (c *bootClient) Room(ctx context.Context) (sdk.Room, error) {
	r, err := c.client.Room(ctx, &pluginv1.RoomRequest{})
	if err != nil {
		return sdk.Room{}, err
	}
	return fromRoom(r.GetRoom()), nil
}

func (c *bootClient) Install(ctx context.Context, entry sdk.Entry) (sdk.KernelSet, error) {
	r, err := c.client.Install(ctx, &pluginv1.InstallRequest{Entry: toEntry(entry)})
	if err != nil {
		return sdk.KernelSet{}, err
	}
	return fromKernelSet(r.GetKernelSet()), nil
}

func (c *bootClient) Remove(ctx context.Context, id string) error {
	_, err := c.client.Remove(ctx, &pluginv1.RemoveRequest{Id: text(id)})
	return err
}

func (c *bootClient) Arm(ctx context.Context, id string, tries int) error {
	_, err := c.client.Arm(ctx, &pluginv1.ArmRequest{Id: text(id), Tries: int64(tries)})
	return err
}

func (c *bootClient) Disarm(ctx context.Context) error {
	_, err := c.client.Disarm(ctx, &pluginv1.DisarmRequest{})
	return err
}

func (c *bootClient) SetDefault(ctx context.Context, id string) error {
	_, err := c.client.SetDefault(ctx, &pluginv1.BootSetDefaultRequest{Id: text(id)})
	return err
}

func (c *bootClient) State(ctx context.Context) (sdk.BootState, error) {
	r, err := c.client.State(ctx, &pluginv1.StateRequest{})
	if err != nil {
		return sdk.BootState{}, err
	}
	return fromBootState(r.GetState()), nil
}

func (c *bootClient) Verify(ctx context.Context, id string) error {
	_, err := c.client.Verify(ctx, &pluginv1.VerifyRequest{Id: text(id)})
	return err
}
