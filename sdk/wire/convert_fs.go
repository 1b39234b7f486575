package wire

import (
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func toVolume(v sdk.Volume) *pluginv1.Volume {
	return &pluginv1.Volume{
		Kind:              text(v.Kind),
		Id:                text(v.ID),
		Device:            []byte(v.Device),
		TotalBytes:        v.TotalBytes,
		FreeBytes:         v.FreeBytes,
		MetadataFreeBytes: v.MetadataFreeBytes,
	}
}

func fromVolume(v *pluginv1.Volume) sdk.Volume {
	return sdk.Volume{
		Kind:              v.GetKind(),
		ID:                v.GetId(),
		Device:            string(v.GetDevice()),
		TotalBytes:        v.GetTotalBytes(),
		FreeBytes:         v.GetFreeBytes(),
		MetadataFreeBytes: v.GetMetadataFreeBytes(),
	}
}

func toSubvolume(s sdk.Subvolume) *pluginv1.Subvolume {
	return &pluginv1.Subvolume{
		Name:     []byte(s.Name),
		Identity: []byte(s.Identity),
		Origin:   []byte(s.Origin),
		ReadOnly: s.ReadOnly,
		Created:  toTime(s.Created),
		Path:     []byte(s.Path),
		Revision: text(s.Revision),
	}
}

func fromSubvolume(s *pluginv1.Subvolume) sdk.Subvolume {
	return sdk.Subvolume{
		Name:     string(s.GetName()),
		Identity: sdk.Identity(s.GetIdentity()),
		Origin:   sdk.Identity(s.GetOrigin()),
		ReadOnly: s.GetReadOnly(),
		Created:  fromTime(s.GetCreated()),
		Path:     string(s.GetPath()),
		Revision: s.GetRevision(),
	}
}

func toChange(c sdk.Change) *pluginv1.Change {
	return &pluginv1.Change{Kind: text(c.Kind), Path: []byte(c.Path)}
}

func fromChange(c *pluginv1.Change) sdk.Change {
	return sdk.Change{Kind: sdk.ChangeKind(c.GetKind()), Path: string(c.GetPath())}
}
