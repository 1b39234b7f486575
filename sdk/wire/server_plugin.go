package wire

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

// Session is the life of a plugin as its server sees it: the part of the service
// that is not the implementation's affair.
type Session interface {
	// Cancel cancels the context of the call under way, if there is one.
	Cancel()
	// Close waits for the call under way, refuses new ones, closes the
	// implementation and lets the process exit once the answer is out.
	Close(ctx context.Context) error
}

type pluginServer struct {
	pluginv1.UnimplementedPluginServer
	plugin  sdk.Plugin
	session Session
}

func registerPlugin(r grpc.ServiceRegistrar, plugin sdk.Plugin, session Session) {
	pluginv1.RegisterPluginServer(r, &pluginServer{plugin: plugin, session: session})
}

func (s *pluginServer) Describe(ctx context.Context, _ *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	d, err := s.plugin.Describe(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.DescribeResponse{Description: toDescription(d)}, nil
}

func (s *pluginServer) Configure(ctx context.Context, r *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	setup := fromSetup(r.GetSetup())
	if err := s.checkSettings(ctx, setup.Settings); err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.ConfigureResponse{}, ToStatus(s.plugin.Configure(ctx, setup))
}

// checkSettings keeps the promise that Configure only sees settings that
// Describe announced, also to a host that does not check them.
func (s *pluginServer) checkSettings(ctx context.Context, settings map[string]string) error {
	d, err := s.plugin.Describe(ctx)
	if err != nil {
		return err
	}
	problems := sdk.CheckSettings(d.Keys, settings)
	if len(problems) == 0 {
		return nil
	}
	list := make([]string, 0, len(problems))
	for _, p := range problems {
		list = append(list, p.String())
	}
	return sdk.Errorf(sdk.CodeInvalid, "configure", d.Name, "%s", strings.Join(list, "; "))
}

func (s *pluginServer) Check(ctx context.Context, _ *pluginv1.CheckRequest) (*pluginv1.CheckResponse, error) {
	findings, err := s.plugin.Check(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.CheckResponse{Findings: convert(findings, toFinding)}, nil
}

func (s *pluginServer) Cancel(context.Context, *pluginv1.CancelRequest) (*pluginv1.CancelResponse, error) {
	s.session.Cancel()
	return &pluginv1.CancelResponse{}, nil
}

func (s *pluginServer) Close(ctx context.Context, _ *pluginv1.CloseRequest) (*pluginv1.CloseResponse, error) {
	return &pluginv1.CloseResponse{}, ToStatus(s.session.Close(ctx))
}
