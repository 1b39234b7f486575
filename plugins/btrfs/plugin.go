package main

import (
	"context"
	"errors"
	"os"

	"github.com/dennwc/btrfs"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/superblock"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/privatemount"
)

// plugin implements sdk.FS. Its host calls one method at a time.
type plugin struct {
	version string
	setup   sdk.Setup
	volume  *volume // nil before Configure and after Close
}

var _ sdk.FS = (*plugin)(nil)

// volume is the filesystem that the plugin works on.
type volume struct {
	uuid   string
	device string
	mount  *privatemount.Mount
	// top is open on the mounted top level; every request goes through it, and
	// names are looked up below it.
	top *os.File
	// control is the same for the requests of package dennwc/btrfs.
	control *btrfs.FS
}

func newPlugin(version string) *plugin {
	return &plugin{version: version}
}

// keyDevice is the one setting.
const keyDevice = "device"

func (p *plugin) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name:    "btrfs",
		Kind:    sdk.KindFS,
		Version: p.version,
		Summary: "a system on btrfs subvolumes",
		Keys: []sdk.Key{{
			Name: keyDevice,
			Type: sdk.KeyString,
			Help: `the filesystem: "UUID=…", "LABEL=…", "PARTUUID=…" or a device's path; default: the one that / is on`,
		}},
		Capabilities: []sdk.Capability{sdk.CapabilityExchange, sdk.CapabilityChanges},
	}, nil
}

func (p *plugin) Configure(ctx context.Context, setup sdk.Setup) error {
	const operation = "open"
	object := setup.Settings[keyDevice]
	if object == "" {
		object = "the filesystem of /"
	}
	if p.volume != nil || p.setup.RunDirectory != "" {
		return failure(operation, object, because(sdk.CodeInvalid, "the plugin was configured before"))
	}
	p.setup = setup
	if err := ctx.Err(); err != nil {
		return failure(operation, object, err)
	}
	if err := privatemount.ClearStale(setup.RunDirectory); err != nil {
		return failure(operation, object, err)
	}
	device, err := findDevice(setup)
	if err != nil {
		return failure(operation, object, err)
	}
	p.volume, err = openVolume(device, setup.RunDirectory)
	return failure(operation, object, err)
}

// openVolume mounts the filesystem on a device.
func openVolume(device, runDirectory string) (*volume, error) {
	v := &volume{device: device}
	var err error
	if v.mount, err = mountTopLevel(device, runDirectory); err != nil {
		return nil, err
	}
	if v.top, err = os.Open(v.mount.Directory); err != nil {
		return nil, errors.Join(err, v.close())
	}
	if v.control, err = btrfs.Open(v.mount.Directory, false); err != nil {
		return nil, errors.Join(err, v.close())
	}
	info, err := v.control.Info()
	if err != nil {
		return nil, errors.Join(err, v.close())
	}
	v.uuid = superblock.FormatUUID(info.FSID)
	return v, nil
}

func (v *volume) close() error {
	if v.top != nil {
		v.top.Close() // opened for reading: nothing is lost
	}
	if v.control != nil {
		v.control.Close()
	}
	return v.mount.Unmount()
}

func (p *plugin) Close() error {
	if p.volume == nil {
		return nil
	}
	v := p.volume
	p.volume = nil
	return failure("close", v.device, v.close())
}

// begin starts a method: it gives the volume, unless the plugin is not open or
// the context is over.
func (p *plugin) begin(ctx context.Context, operation, object string) (*volume, error) {
	if p.volume == nil {
		return nil, failure(operation, object, because(sdk.CodeInvalid, "the plugin is not configured"))
	}
	if err := ctx.Err(); err != nil {
		return nil, failure(operation, object, err)
	}
	return p.volume, nil
}
