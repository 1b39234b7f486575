package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

type bootServer struct {
	pluginv1.UnimplementedBootServer
	boot sdk.Boot
}

// RegisterBoot makes the services Plugin and Boot of an implementation.
func RegisterBoot(r grpc.ServiceRegistrar, boot sdk.Boot, session Session) {
	registerPlugin(r, boot, session)
	pluginv1.RegisterBootServer(r, &bootServer{boot: boot})
}

func (s *bootServer) Inspect(ctx context.Context, r *pluginv1.InspectRequest) (*pluginv1.InspectResponse, error) {
	set, err := s.boot.Inspect(ctx, string(r.GetRoot()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.InspectResponse{KernelSet: toKernelSet(set)}, nil
}

func (s *bootServer) Room(ctx context.Context, _ *pluginv1.RoomRequest) (*pluginv1.RoomResponse, error) {
	room, err := s.boot.Room(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.RoomResponse{Room: toRoom(room)}, nil
}

func (s *bootServer) Install(ctx context.Context, r *pluginv1.InstallRequest) (*pluginv1.InstallResponse, error) {
	set, err := s.boot.Install(ctx, fromEntry(r.GetEntry()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.InstallResponse{KernelSet: toKernelSet(set)}, nil
}

func (s *bootServer) Remove(ctx context.Context, r *pluginv1.RemoveRequest) (*pluginv1.RemoveResponse, error) {
	return &pluginv1.RemoveResponse{}, ToStatus(s.boot.Remove(ctx, r.GetId()))
}

func (s *bootServer) Arm(ctx context.Context, r *pluginv1.ArmRequest) (*pluginv1.ArmResponse, error) {
	return &pluginv1.ArmResponse{}, ToStatus(s.boot.Arm(ctx, r.GetId(), int(r.GetTries())))
}

func (s *bootServer) Disarm(ctx context.Context, _ *pluginv1.DisarmRequest) (*pluginv1.DisarmResponse, error) {
	return &pluginv1.DisarmResponse{}, ToStatus(s.boot.Disarm(ctx))
}

func (s *bootServer) SetDefault(ctx context.Context, r *pluginv1.BootSetDefaultRequest) (*pluginv1.BootSetDefaultResponse, error) {
	return &pluginv1.BootSetDefaultResponse{}, ToStatus(s.boot.SetDefault(ctx, r.GetId()))
}

func (s *bootServer) State(ctx context.Context, _ *pluginv1.StateRequest) (*pluginv1.StateResponse, error) {
	state, err := s.boot.State(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.StateResponse{State: toBootState(state)}, nil
}

func (s *bootServer) Verify(ctx context.Context, r *pluginv1.VerifyRequest) (*pluginv1.VerifyResponse, error) {
	return &pluginv1.VerifyResponse{}, ToStatus(s.boot.Verify(ctx, r.GetId()))
}
