// Package wire translates between the interfaces of package sdk and the gRPC
// services of sdk/proto/v1, in both directions.
//
// RegisterFS and RegisterBoot make services of an implementation, for package
// serve; NewFS and NewBoot make an implementation of a connection, for package
// launch. What goes in at one end comes out at the other, with these
// exceptions: empty slices and maps arrive as nil, times arrive in UTC without
// a monotonic part, and an error arrives as an *sdk.Error without its cause. A
// call whose context is over gives an *sdk.Error with CodeCancelled, also when
// gRPC did not wait for the plugin to say so.
package wire

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

// Version is the version of the contract that this package speaks, as
// go-plugin's handshake negotiates it.
const Version = 1

// The go-plugin handshake. The cookie only tells a start by a host from one by
// hand; it is no secret.
const (
	CookieKey   = "TBUPDATE_PLUGIN"
	CookieValue = "5e0a1c52-4a0f-4b7e-9d0e-2f7c1f1f3b1d"
)

// WatchVariable names the environment variable that holds the number of the
// descriptor on which a plugin sees end of file when its host is gone.
const WatchVariable = "TBUPDATE_PLUGIN_WATCH"

// ProgramVariable names the environment variable that holds the number of the
// descriptor through which the host executed the program, so that the file that
// was checked is the file that runs. The plugin has no use for it and closes it.
const ProgramVariable = "TBUPDATE_PLUGIN_PROGRAM"

// MaxMessage is the size in bytes of the largest message, either way. It is
// explicit because gRPC's own limit for what a server accepts, 4 MiB, is within
// reach of a long list.
const MaxMessage = 64 << 20

// Method classifies a method of the contract by its full gRPC name, such as
// "/tbupdate.plugin.v1.FS/Snapshot".
type Method struct {
	Name string // "FS.Snapshot"
	// Changes is true where the call may change something, so that the plugin
	// must not be killed while it runs.
	Changes bool
}

// MethodOf finds a method; ok is false for one that is not in the contract.
func MethodOf(fullName string) (m Method, ok bool) {
	services := pluginv1.File_sdk_proto_v1_plugin_proto.Services()
	for i := range services.Len() {
		service := services.Get(i)
		prefix := "/" + string(service.FullName()) + "/"
		if len(fullName) <= len(prefix) || fullName[:len(prefix)] != prefix {
			continue
		}
		method := service.Methods().ByName(protoreflect.Name(fullName[len(prefix):]))
		if method == nil {
			return Method{}, false
		}
		return Method{
			Name:    string(service.Name()) + "." + string(method.Name()),
			Changes: !hasNoSideEffects(method),
		}, true
	}
	return Method{}, false
}

func hasNoSideEffects(method protoreflect.MethodDescriptor) bool {
	options, ok := method.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}
