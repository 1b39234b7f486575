package serve

import (
	"context"

	"google.golang.org/grpc"
)

// guarded registers services whose calls keep the order of a session, whoever made
// the server.
type guarded struct {
	grpc.ServiceRegistrar
	session *session
}

func (g guarded) RegisterService(service *grpc.ServiceDesc, implementation any) {
	own := *service
	own.Methods = make([]grpc.MethodDesc, 0, len(service.Methods))
	for _, method := range service.Methods {
		own.Methods = append(own.Methods, g.method(method))
	}
	own.Streams = make([]grpc.StreamDesc, 0, len(service.Streams))
	for _, stream := range service.Streams {
		own.Streams = append(own.Streams, g.stream(service.ServiceName, stream))
	}
	g.ServiceRegistrar.RegisterService(&own, implementation)
}

func (g guarded) method(method grpc.MethodDesc) grpc.MethodDesc {
	handler := method.Handler
	method.Handler = func(server any, ctx context.Context, decode func(any) error, outer grpc.UnaryServerInterceptor) (any, error) {
		return handler(server, ctx, decode, func(ctx context.Context, request any, info *grpc.UnaryServerInfo, call grpc.UnaryHandler) (any, error) {
			inner := func(ctx context.Context, request any) (any, error) {
				return g.session.unary(ctx, request, info, call)
			}
			if outer == nil {
				return inner(ctx, request)
			}
			return outer(ctx, request, info, inner)
		})
	}
	return method
}

func (g guarded) stream(service string, stream grpc.StreamDesc) grpc.StreamDesc {
	handler := stream.Handler
	info := &grpc.StreamServerInfo{
		FullMethod:     "/" + service + "/" + stream.StreamName,
		IsClientStream: stream.ClientStreams,
		IsServerStream: stream.ServerStreams,
	}
	stream.Handler = func(server any, s grpc.ServerStream) error {
		return g.session.stream(server, s, info, handler)
	}
	return stream
}
