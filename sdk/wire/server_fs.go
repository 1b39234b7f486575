package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

// changesBatch is the number of changes in one message: enough that the cost of
// a message no longer counts, with paths of 4 KiB still far below MaxMessage.
const changesBatch = 256

type fsServer struct {
	pluginv1.UnimplementedFSServer
	fs sdk.FS
}

// RegisterFS makes the services Plugin and FS of an implementation.
func RegisterFS(r grpc.ServiceRegistrar, fs sdk.FS, session Session) {
	registerPlugin(r, fs, session)
	pluginv1.RegisterFSServer(r, &fsServer{fs: fs})
}

func (s *fsServer) Volume(ctx context.Context, _ *pluginv1.VolumeRequest) (*pluginv1.VolumeResponse, error) {
	v, err := s.fs.Volume(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.VolumeResponse{Volume: toVolume(v)}, nil
}

func (s *fsServer) Prepare(ctx context.Context, _ *pluginv1.PrepareRequest) (*pluginv1.PrepareResponse, error) {
	return &pluginv1.PrepareResponse{}, ToStatus(s.fs.Prepare(ctx))
}

func (s *fsServer) List(ctx context.Context, _ *pluginv1.ListRequest) (*pluginv1.ListResponse, error) {
	list, err := s.fs.List(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.ListResponse{Subvolumes: convert(list, toSubvolume)}, nil
}

func (s *fsServer) Lookup(ctx context.Context, r *pluginv1.LookupRequest) (*pluginv1.LookupResponse, error) {
	v, err := s.fs.Lookup(ctx, string(r.GetName()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.LookupResponse{Subvolume: toSubvolume(v)}, nil
}

func (s *fsServer) Get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	v, err := s.fs.Get(ctx, sdk.Identity(r.GetIdentity()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.GetResponse{Subvolume: toSubvolume(v)}, nil
}

func (s *fsServer) Snapshot(ctx context.Context, r *pluginv1.SnapshotRequest) (*pluginv1.SnapshotResponse, error) {
	v, err := s.fs.Snapshot(ctx, sdk.Identity(r.GetFrom()), string(r.GetTo()), r.GetReadOnly())
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.SnapshotResponse{Subvolume: toSubvolume(v)}, nil
}

func (s *fsServer) Rename(ctx context.Context, r *pluginv1.RenameRequest) (*pluginv1.RenameResponse, error) {
	err := s.fs.Rename(ctx, sdk.Identity(r.GetIdentity()), string(r.GetTo()))
	return &pluginv1.RenameResponse{}, ToStatus(err)
}

func (s *fsServer) Exchange(ctx context.Context, r *pluginv1.ExchangeRequest) (*pluginv1.ExchangeResponse, error) {
	err := s.fs.Exchange(ctx, string(r.GetName()), sdk.Identity(r.GetIdentity()))
	return &pluginv1.ExchangeResponse{}, ToStatus(err)
}

func (s *fsServer) Delete(ctx context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	err := s.fs.Delete(ctx, sdk.Identity(r.GetIdentity()))
	return &pluginv1.DeleteResponse{}, ToStatus(err)
}

func (s *fsServer) Seal(ctx context.Context, r *pluginv1.SealRequest) (*pluginv1.SealResponse, error) {
	err := s.fs.Seal(ctx, sdk.Identity(r.GetIdentity()))
	return &pluginv1.SealResponse{}, ToStatus(err)
}

func (s *fsServer) Flush(ctx context.Context, _ *pluginv1.FlushRequest) (*pluginv1.FlushResponse, error) {
	return &pluginv1.FlushResponse{}, ToStatus(s.fs.Flush(ctx))
}

func (s *fsServer) Default(ctx context.Context, _ *pluginv1.DefaultRequest) (*pluginv1.DefaultResponse, error) {
	v, err := s.fs.Default(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.DefaultResponse{Subvolume: toSubvolume(v)}, nil
}

func (s *fsServer) SetDefault(ctx context.Context, r *pluginv1.SetDefaultRequest) (*pluginv1.SetDefaultResponse, error) {
	err := s.fs.SetDefault(ctx, sdk.Identity(r.GetIdentity()))
	return &pluginv1.SetDefaultResponse{}, ToStatus(err)
}

func (s *fsServer) KernelArguments(ctx context.Context, r *pluginv1.KernelArgumentsRequest) (*pluginv1.KernelArgumentsResponse, error) {
	arguments, err := s.fs.KernelArguments(ctx, sdk.Identity(r.GetIdentity()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.KernelArgumentsResponse{Arguments: toBytes(arguments)}, nil
}

func (s *fsServer) Booted(ctx context.Context, r *pluginv1.BootedRequest) (*pluginv1.BootedResponse, error) {
	v, err := s.fs.Booted(ctx, string(r.GetCommandLine()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.BootedResponse{Subvolume: toSubvolume(v)}, nil
}

func (s *fsServer) MountLine(ctx context.Context, r *pluginv1.MountLineRequest) (*pluginv1.MountLineResponse, error) {
	line, err := s.fs.MountLine(ctx, sdk.Identity(r.GetIdentity()), string(r.GetDirectory()))
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.MountLineResponse{Line: []byte(line)}, nil
}

func (s *fsServer) StateDirectory(ctx context.Context, _ *pluginv1.StateDirectoryRequest) (*pluginv1.StateDirectoryResponse, error) {
	path, err := s.fs.StateDirectory(ctx)
	if err != nil {
		return nil, ToStatus(err)
	}
	return &pluginv1.StateDirectoryResponse{Path: []byte(path)}, nil
}

func (s *fsServer) Changes(r *pluginv1.ChangesRequest, stream grpc.ServerStreamingServer[pluginv1.ChangesResponse]) error {
	var batch []*pluginv1.Change
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := stream.Send(&pluginv1.ChangesResponse{Changes: batch})
		batch = nil
		return err
	}
	err := s.fs.Changes(stream.Context(), sdk.Identity(r.GetA()), sdk.Identity(r.GetB()), func(c sdk.Change) error {
		batch = append(batch, toChange(c))
		if len(batch) < changesBatch {
			return nil
		}
		return send()
	})
	// What was emitted before an error arrives before it, as it would without
	// a process boundary.
	if sendErr := send(); err == nil {
		err = sendErr
	}
	return ToStatus(err)
}
