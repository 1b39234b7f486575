// Package pluginv1 is the wire contract of version 1: messages and services
// generated from plugin.proto. Package wire translates between them and the
// interfaces of package sdk.
package pluginv1

// The two generators are the module's own tools, so that everybody gets the same
// text; protoc (Debian: protobuf-compiler) is 3.21 or later. It runs at the top
// of the module, because the path that it is given becomes the file's name in
// the program-wide registry, where "plugin.proto" alone could clash.
//go:generate sh -c "cd ../../.. && protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative sdk/proto/v1/plugin.proto"
