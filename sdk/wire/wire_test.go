package wire_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

const rounds = 50

// subject is one contract with a fake behind it.
type subject struct {
	name     string
	fake     *fake
	client   reflect.Value
	contract reflect.Type
}

func subjects(t *testing.T) []subject {
	f, fs := connectFS(t)
	b, boot := connectBoot(t)
	return []subject{
		{"FS", f, reflect.ValueOf(fs), reflect.TypeFor[sdk.FS]()},
		{"Boot", b, reflect.ValueOf(boot), reflect.TypeFor[sdk.Boot]()},
	}
}

// TestRoundTrip: for every method of both contracts, what goes in comes out, in
// both directions.
func TestRoundTrip(t *testing.T) {
	for _, s := range subjects(t) {
		for i := range s.contract.NumMethod() {
			method := s.contract.Method(i)
			t.Run(s.name+"."+method.Name, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, uint64(i)))
				for range rounds {
					s.roundTrip(t, method, r)
				}
			})
		}
	}
}

func (s subject) roundTrip(t *testing.T, method reflect.Method, r *rand.Rand) {
	t.Helper()
	s.fake.result, s.fake.err, s.fake.emits = nil, nil, nil
	in, args, emitted := s.arguments(t.Context(), method, r)
	if out := method.Type.Out(0); method.Type.NumOut() == 2 {
		s.fake.result = random(out, r).Interface()
	}
	if setup, ok := lastSetup(args); ok {
		s.fake.result = describing(setup)
	}
	results := s.client.MethodByName(method.Name).Call(in)
	if err := results[len(results)-1].Interface(); err != nil {
		t.Fatalf("error: %v", err)
	}
	if diff := cmp.Diff(method.Name, s.fake.method); diff != "" {
		t.Errorf("method (-called +arrived):\n%s", diff)
	}
	if diff := cmp.Diff(args, s.fake.args); diff != "" {
		t.Errorf("arguments (-sent +arrived):\n%s", diff)
	}
	if len(results) == 2 {
		if diff := cmp.Diff(s.fake.result, results[0].Interface()); diff != "" {
			t.Errorf("result (-sent +arrived):\n%s", diff)
		}
	}
	if diff := cmp.Diff(s.fake.emits, *emitted); diff != "" {
		t.Errorf("changes (-sent +arrived):\n%s", diff)
	}
}

// arguments makes random ones. emitted is where emit puts what arrives.
func (s subject) arguments(ctx context.Context, method reflect.Method, r *rand.Rand) (in []reflect.Value, args []any, emitted *[]sdk.Change) {
	emitted = new([]sdk.Change)
	for i := range method.Type.NumIn() {
		switch argument := method.Type.In(i); argument.Kind() {
		case reflect.Interface:
			in = append(in, reflect.ValueOf(ctx))
		case reflect.Func:
			for range r.IntN(600) { // more than one batch
				s.fake.emits = append(s.fake.emits, random(reflect.TypeFor[sdk.Change](), r).Interface().(sdk.Change))
			}
			in = append(in, reflect.ValueOf(func(c sdk.Change) error { *emitted = append(*emitted, c); return nil }))
		default:
			value := random(argument, r)
			in = append(in, value)
			args = append(args, value.Interface())
		}
	}
	return in, args, emitted
}

func lastSetup(args []any) (sdk.Setup, bool) {
	if len(args) == 0 {
		return sdk.Setup{}, false
	}
	setup, ok := args[len(args)-1].(sdk.Setup)
	return setup, ok
}

// describing gives a description with the keys that a setup has.
func describing(setup sdk.Setup) sdk.Description {
	var d sdk.Description
	for name := range setup.Settings {
		d.Keys = append(d.Keys, sdk.Key{Name: name, Type: sdk.KeyString})
	}
	return d
}

var codes = []sdk.Code{
	sdk.CodeInvalid, sdk.CodeNotFound, sdk.CodeExists, sdk.CodeBusy, sdk.CodeNoSpace, sdk.CodeReadOnly,
	sdk.CodeUnsupported, sdk.CodeNoKernel, sdk.CodeCorrupt, sdk.CodeCancelled, sdk.CodeInternal,
}

// TestErrors: every code of every method arrives whole.
func TestErrors(t *testing.T) {
	for _, s := range subjects(t) {
		for i := range s.contract.NumMethod() {
			method := s.contract.Method(i)
			t.Run(s.name+"."+method.Name, func(t *testing.T) {
				for _, code := range codes {
					want := &sdk.Error{Code: code, Operation: "snapshot", Object: "a\xff/b", Message: "why → 5%\n\xfe"}
					s.fake.result, s.fake.emits, s.fake.err = nil, nil, want
					in, _, _ := s.arguments(t.Context(), method, rand.New(rand.NewPCG(2, 2)))
					if len(in) == 2 && in[1].Type() == reflect.TypeFor[sdk.Setup]() {
						in[1] = reflect.ValueOf(sdk.Setup{})
					}
					results := s.client.MethodByName(method.Name).Call(in)
					err, _ := results[len(results)-1].Interface().(error)
					if diff := cmp.Diff(error(want), err, cmp.Comparer(sameError)); diff != "" {
						t.Errorf("code %s (-sent +arrived):\n%s", code, diff)
					}
					if !errors.Is(err, &sdk.Error{Code: code}) {
						t.Errorf("code %s: the sentinel does not match", code)
					}
				}
			})
		}
	}
}

func sameError(a, b error) bool {
	x, okX := a.(*sdk.Error)
	y, okY := b.(*sdk.Error)
	return okX && okY && *x == *y
}

// TestOddErrors: errors that a method should not return arrive as something
// sensible.
func TestOddErrors(t *testing.T) {
	for name, test := range map[string]struct {
		sent error
		want sdk.Error
	}{
		"a sentinel":         {sdk.ErrNotFound, sdk.Error{Code: sdk.CodeNotFound}},
		"plain":              {errors.New("why"), sdk.Error{Code: sdk.CodeInternal, Message: "why"}},
		"of the context":     {fmt.Errorf("read: %w", context.Canceled), sdk.Error{Code: sdk.CodeCancelled, Message: "read: context canceled"}},
		"wrapped":            {fmt.Errorf("while this: %w", sdk.Errorf(sdk.CodeBusy, "delete", "5", "mounted")), sdk.Error{Code: sdk.CodeBusy, Message: "while this: cannot delete 5: mounted"}},
		"of a later version": {&sdk.Error{Code: "on-fire", Message: "hot"}, sdk.Error{Code: sdk.CodeInternal, Message: "hot"}},
		"with a cause":       {sdk.Errorf(sdk.CodeNoSpace, "write", "f", "disk: %w", errors.New("full")), sdk.Error{Code: sdk.CodeNoSpace, Operation: "write", Object: "f", Message: "disk: full"}},
		"long":               {&sdk.Error{Code: sdk.CodeBusy, Message: strings.Repeat("x", 20<<20)}, sdk.Error{Code: sdk.CodeBusy, Message: strings.Repeat("x", 64<<10) + " …"}},
		"joined":             {errors.Join(sdk.ErrExists, errors.New("b")), sdk.Error{Code: sdk.CodeExists, Message: "exists\nb"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, fs := connectFS(t)
			f.err = test.sent
			err := fs.Flush(t.Context())
			if diff := cmp.Diff(error(&test.want), err, cmp.Comparer(sameError)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotUTF8: names and paths of a filesystem arrive byte by byte; words of the
// contract are made UTF-8 rather than fail the call.
func TestNotUTF8(t *testing.T) {
	f, fs := connectFS(t)
	f.result = sdk.Subvolume{Name: "a\xff", Identity: "\xfe", Path: "/\x80"}
	got, err := fs.Lookup(t.Context(), "\xff\xfe")
	if err != nil || f.args[0] != "\xff\xfe" {
		t.Errorf("the name arrived as %q, %v", f.args, err)
	}
	if diff := cmp.Diff(f.result, any(got)); diff != "" {
		t.Errorf("subvolume (-sent +arrived):\n%s", diff)
	}
	f.result = sdk.Description{Name: "a\xff", Summary: "\xfe"}
	d, err := fs.Describe(t.Context())
	if err != nil || d.Name != "a\uFFFD" || d.Summary != "\uFFFD" {
		t.Errorf("Describe gave %+v, %v", d, err)
	}
}

// TestTimes: an unknown time stays unknown, and instants arrive in UTC.
func TestTimes(t *testing.T) {
	f, fs := connectFS(t)
	for _, sent := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 7), time.Date(2261, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))} {
		f.result = sdk.Subvolume{Created: sent}
		got, err := fs.Get(t.Context(), "5")
		if err != nil || !got.Created.Equal(sent) || got.Created.IsZero() != sent.IsZero() || got.Created.Location() != time.UTC {
			t.Errorf("%v arrived as %v, %v", sent, got.Created, err)
		}
	}
}

// TestChangesBeforeError: what was emitted before an error arrives before it.
func TestChangesBeforeError(t *testing.T) {
	f, fs := connectFS(t)
	f.emits = []sdk.Change{{Kind: sdk.ChangeAdded, Path: "a"}}
	f.err = sdk.Errorf(sdk.CodeCorrupt, "compare", "1", "broken")
	var got []sdk.Change
	err := fs.Changes(t.Context(), "1", "2", func(c sdk.Change) error { got = append(got, c); return nil })
	if diff := cmp.Diff(f.emits, got); diff != "" || !errors.Is(err, sdk.ErrCorrupt) {
		t.Errorf("error %v, changes (-want +got):\n%s", err, diff)
	}
}

// TestSettingsAreChecked: Configure does not see settings that Describe did not
// announce.
func TestSettingsAreChecked(t *testing.T) {
	f, fs := connectFS(t)
	f.result = sdk.Description{Name: "x", Keys: []sdk.Key{{Name: "n", Type: sdk.KeyInteger}}}
	err := fs.Configure(t.Context(), sdk.Setup{Settings: map[string]string{"n": "five"}})
	if !errors.Is(err, sdk.ErrInvalid) || f.method == "Configure" {
		t.Errorf("error %v, last method called %s", err, f.method)
	}
}

// TestMethods: the table of methods is the contracts', and says of each whether
// it changes something.
func TestMethods(t *testing.T) {
	reads := map[string]bool{
		"Plugin.Describe": true, "Plugin.Check": true, "Plugin.Cancel": true,
		"FS.Volume": true, "FS.List": true, "FS.Lookup": true, "FS.Get": true, "FS.Default": true,
		"FS.KernelArguments": true, "FS.Booted": true, "FS.MountLine": true, "FS.StateDirectory": true, "FS.Changes": true,
		"Boot.Inspect": true, "Boot.Room": true, "Boot.State": true, "Boot.Verify": true,
	}
	services := pluginv1.File_sdk_proto_v1_plugin_proto.Services()
	seen := 0
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			name := string(services.Get(i).Name()) + "." + string(services.Get(i).Methods().Get(j).Name())
			m, ok := wire.MethodOf("/tbupdate.plugin.v1." + strings.Replace(name, ".", "/", 1))
			if !ok || m.Name != name || m.Changes == reads[name] {
				t.Errorf("%s: got %+v, %t; it reads only: %t", name, m, ok, reads[name])
			}
			seen++
		}
	}
	contracts := reflect.TypeFor[sdk.FS]().NumMethod() + reflect.TypeFor[sdk.Boot]().NumMethod() - reflect.TypeFor[sdk.Plugin]().NumMethod()
	if seen != contracts+1 { // Cancel is the wire's own
		t.Errorf("%d methods on the wire, %d in the contracts", seen, contracts)
	}
	for _, name := range []string{"", "/", "/tbupdate.plugin.v1.FS/", "/tbupdate.plugin.v1.FS/None", "/grpc.health.v1.Health/Check"} {
		if m, ok := wire.MethodOf(name); ok {
			t.Errorf("%q is taken for %+v", name, m)
		}
	}
}

// TestOver: with a context that is over every method gives what it would give in
// one process, whatever the plugin is doing.
func TestOver(t *testing.T) {
	why := errors.New("the operator left")
	over, leave := context.WithCancelCause(t.Context())
	leave(why)
	late, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	for _, s := range subjects(t) {
		for i := range s.contract.NumMethod() {
			method := s.contract.Method(i)
			if method.Name == "Close" {
				continue // it has no context
			}
			t.Run(s.name+"."+method.Name, func(t *testing.T) {
				for ctx, cause := range map[context.Context]error{over: why, late: context.DeadlineExceeded} {
					in, _, _ := s.arguments(ctx, method, rand.New(rand.NewPCG(3, 3)))
					results := s.client.MethodByName(method.Name).Call(in)
					err, _ := results[len(results)-1].Interface().(error)
					if !errors.Is(err, sdk.ErrCancelled) || !errors.Is(err, cause) {
						t.Errorf("got %v, want an *sdk.Error with %q", err, cause)
					}
				}
			})
		}
	}
}

// TestCancelledStream: leaving in the midst of Changes is a cancellation.
func TestCancelledStream(t *testing.T) {
	f, fs := connectFS(t)
	for range 4000 { // more than gRPC sends ahead
		f.emits = append(f.emits, sdk.Change{Kind: sdk.ChangeAdded, Path: strings.Repeat("a", 4000)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := fs.Changes(ctx, "1", "2", func(sdk.Change) error { cancel(); return nil })
	if !errors.Is(err, sdk.ErrCancelled) {
		t.Errorf("got %v, want a cancellation", err)
	}
}
