package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

// Plugin is the client of what both contracts have in common.
type Plugin struct{ client pluginv1.PluginClient }

// NewPlugin makes a client of the service Plugin.
func NewPlugin(conn grpc.ClientConnInterface) *Plugin {
	return &Plugin{client: pluginv1.NewPluginClient(translated{conn})}
}

var _ sdk.Plugin = (*Plugin)(nil)

// Describe implements sdk.Plugin.
func (p *Plugin) Describe(ctx context.Context) (sdk.Description, error) {
	r, err := p.client.Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return sdk.Description{}, err
	}
	return fromDescription(r.GetDescription()), nil
}

// Configure implements sdk.Plugin.
func (p *Plugin) Configure(ctx context.Context, setup sdk.Setup) error {
	_, err := p.client.Configure(ctx, &pluginv1.ConfigureRequest{Setup: toSetup(setup)})
	return err
}

// Check implements sdk.Plugin.
func (p *Plugin) Check(ctx context.Context) ([]sdk.Finding, error) {
	r, err := p.client.Check(ctx, &pluginv1.CheckRequest{})
	if err != nil {
		return nil, err
	}
	return convert(r.GetFindings(), fromFinding), nil
}

// Cancel asks the call under way to end soon.
func (p *Plugin) Cancel(ctx context.Context) error {
	_, err := p.client.Cancel(ctx, &pluginv1.CancelRequest{})
	return err
}

// Close implements sdk.Plugin. It waits as long as the plugin needs.
func (p *Plugin) Close() error { return p.CloseContext(context.Background()) }

// CloseContext is Close with a limit to the waiting. The plugin goes on closing
// when the limit is over.
func (p *Plugin) CloseContext(ctx context.Context) error {
	_, err := p.client.Close(ctx, &pluginv1.CloseRequest{})
	return err
}
