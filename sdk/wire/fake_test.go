package wire_test

import (
	"context"
	"math/rand/v2"
	"net"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// fake records how it was called and gives the result that a test has set.
type fake struct {
	method string
	args   []any
	result any // of the type of the method's first result
	emits  []sdk.Change
	err    error
}

func (f *fake) called(method string, args ...any) error {
	f.method, f.args = method, args
	return f.err
}

func answer[T any](f *fake, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	return f.result.(T), nil
}

func (f *fake) Describe(context.Context) (sdk.Description, error) {
	// Configure asks for the keys first.
	if d, ok := f.result.(sdk.Description); ok {
		return d, f.called("Describe")
	}
	return sdk.Description{}, f.called("Describe")
}
func (f *fake) Configure(_ context.Context, s sdk.Setup) error { return f.called("Configure", s) }
func (f *fake) Check(context.Context) ([]sdk.Finding, error) {
	return answer[[]sdk.Finding](f, f.called("Check"))
}
func (f *fake) Close() error { return f.called("Close") }

type fakeFS struct{ *fake }

func (f fakeFS) Volume(context.Context) (sdk.Volume, error) {
	return answer[sdk.Volume](f.fake, f.called("Volume"))
}
func (f fakeFS) Prepare(context.Context) error { return f.called("Prepare") }
func (f fakeFS) List(context.Context) ([]sdk.Subvolume, error) {
	return answer[[]sdk.Subvolume](f.fake, f.called("List"))
}
func (f fakeFS) Lookup(_ context.Context, name string) (sdk.Subvolume, error) {
	return answer[sdk.Subvolume](f.fake, f.called("Lookup", name))
}
func (f fakeFS) Get(_ context.Context, id sdk.Identity) (sdk.Subvolume, error) {
	return answer[sdk.Subvolume](f.fake, f.called("Get", id))
}
func (f fakeFS) Snapshot(_ context.Context, from sdk.Identity, to string, readOnly bool) (sdk.Subvolume, error) {
	return answer[sdk.Subvolume](f.fake, f.called("Snapshot", from, to, readOnly))
}
func (f fakeFS) Rename(_ context.Context, id sdk.Identity, to string) error {
	return f.called("Rename", id, to)
}
func (f fakeFS) Exchange(_ context.Context, name string, id sdk.Identity) error {
	return f.called("Exchange", name, id)
}
func (f fakeFS) Delete(_ context.Context, id sdk.Identity) error { return f.called("Delete", id) }
func (f fakeFS) Seal(_ context.Context, id sdk.Identity) error   { return f.called("Seal", id) }
func (f fakeFS) Flush(context.Context) error                     { return f.called("Flush") }
func (f fakeFS) Default(context.Context) (sdk.Subvolume, error) {
	return answer[sdk.Subvolume](f.fake, f.called("Default"))
}
func (f fakeFS) SetDefault(_ context.Context, id sdk.Identity) error {
	return f.called("SetDefault", id)
}
func (f fakeFS) KernelArguments(_ context.Context, id sdk.Identity) ([]string, error) {
	return answer[[]string](f.fake, f.called("KernelArguments", id))
}
func (f fakeFS) Booted(_ context.Context, commandLine string) (sdk.Subvolume, error) {
	return answer[sdk.Subvolume](f.fake, f.called("Booted", commandLine))
}
func (f fakeFS) MountLine(_ context.Context, id sdk.Identity, directory string) (string, error) {
	return answer[string](f.fake, f.called("MountLine", id, directory))
}
func (f fakeFS) StateDirectory(context.Context) (string, error) {
	return answer[string](f.fake, f.called("StateDirectory"))
}
func (f fakeFS) Changes(_ context.Context, a, b sdk.Identity, emit func(sdk.Change) error) error {
	for _, change := range f.emits {
		if err := emit(change); err != nil {
			return err
		}
	}
	return f.called("Changes", a, b)
}

type fakeBoot struct{ *fake }

func (f fakeBoot) Inspect(_ context.Context, root string) (sdk.KernelSet, error) {
	return answer[sdk.KernelSet](f.fake, f.called("Inspect", root))
}
func (f fakeBoot) Room(context.Context) (sdk.Room, error) {
	return answer[sdk.Room](f.fake, f.called("Room"))
}
func (f fakeBoot) Install(_ context.Context, e sdk.Entry) (sdk.KernelSet, error) {
	return answer[sdk.KernelSet](f.fake, f.called("Install", e))
}
func (f fakeBoot) Remove(_ context.Context, id string) error { return f.called("Remove", id) }
func (f fakeBoot) Arm(_ context.Context, id string, tries int) error {
	return f.called("Arm", id, tries)
}
func (f fakeBoot) Disarm(context.Context) error                  { return f.called("Disarm") }
func (f fakeBoot) SetDefault(_ context.Context, id string) error { return f.called("SetDefault", id) }
func (f fakeBoot) State(context.Context) (sdk.BootState, error) {
	return answer[sdk.BootState](f.fake, f.called("State"))
}
func (f fakeBoot) Verify(_ context.Context, id string) error { return f.called("Verify", id) }

// fakeSession passes Close on and knows nothing to cancel.
type fakeSession struct{ *fake }

func (s fakeSession) Cancel()                     { _ = s.called("Cancel") }
func (s fakeSession) Close(context.Context) error { return s.called("Close") }

// connect serves with real gRPC on a socket of this process.
func connect(t *testing.T, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	t.Helper()
	server := grpc.NewServer()
	register(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func connectFS(t *testing.T) (*fake, sdk.FS) {
	f := &fake{}
	return f, wire.NewFS(connect(t, func(r grpc.ServiceRegistrar) { wire.RegisterFS(r, fakeFS{f}, fakeSession{f}) }))
}

func connectBoot(t *testing.T) (*fake, sdk.Boot) {
	f := &fake{}
	return f, wire.NewBoot(connect(t, func(r grpc.ServiceRegistrar) { wire.RegisterBoot(r, fakeBoot{f}, fakeSession{f}) }))
}

// random gives a value of a type with every field filled, as the source decides.
// Slices and maps are empty now and then.
func random(t reflect.Type, r *rand.Rand) reflect.Value {
	v := reflect.New(t).Elem()
	if t == reflect.TypeFor[time.Time]() {
		return reflect.ValueOf(time.Unix(r.Int64N(1<<34), r.Int64N(1e9)).UTC())
	}
	switch t.Kind() {
	case reflect.String:
		v.SetString(randomString(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(int64(r.Uint64()))
	case reflect.Uint64:
		v.SetUint(r.Uint64())
	case reflect.Slice:
		for range r.IntN(4) {
			v = reflect.Append(v, random(t.Elem(), r))
		}
	case reflect.Map:
		for range r.IntN(4) {
			if v.IsNil() {
				v.Set(reflect.MakeMap(t))
			}
			v.SetMapIndex(random(t.Key(), r), random(t.Elem(), r))
		}
	case reflect.Struct:
		for i := range t.NumField() {
			v.Field(i).Set(random(t.Field(i).Type, r))
		}
	default:
		panic("the contract has a new type: " + t.String())
	}
	return v
}

func randomString(r *rand.Rand) string {
	runes := []rune("aZ09-_/. \x00\n\"|=äß→\U0001F680")
	s := make([]rune, r.IntN(12))
	for i := range s {
		s[i] = runes[r.IntN(len(runes))]
	}
	return string(s)
}
