package v1

import "encoding/binary"

func encodeHeader(h *Header) []byte {
	b := []byte{0}
	if h.Origin != nil {
		b = append([]byte{1}, h.Origin[:]...)
	}
	b = append(b, h.Target[:]...)
	for _, value := range []uint64{h.ContentLimit, h.SourceLimit, h.Totals.Commands, h.Totals.Content, h.Totals.Written} {
		b = binary.AppendUvarint(b, value)
	}
	return b
}

// encodeSection gives the commands section of a frame that was checked.
func encodeSection(f *Frame) []byte {
	var names, subjects paths
	b := binary.AppendUvarint(nil, uint64(len(f.Files)))
	for _, file := range f.Files {
		b = names.append(b, file.Path)
		b = binary.AppendUvarint(b, file.Size)
		b = append(append(b, file.Digest[:]...), byte(file.View.Method))
		if file.View.Method != AsItIs {
			for _, value := range []uint64{file.View.Offset, file.View.Length, file.View.Size} {
				b = binary.AppendUvarint(b, value)
			}
		}
	}
	b = binary.AppendUvarint(b, uint64(len(f.Ranges)))
	ends := map[int]uint64{}
	for _, r := range f.Ranges {
		b = binary.AppendUvarint(b, uint64(r.File))
		b = appendOffset(b, r.Offset, ends[r.File])
		b = binary.AppendUvarint(b, r.Length)
		ends[r.File] = r.Offset + r.Length
	}
	ends = map[int]uint64{}
	for _, c := range f.Commands {
		b = subjects.append(append(b, byte(c.Op())), c.Subject())
		b = appendFields(b, c, ends)
	}
	return b
}

// appendFields appends what follows the path of a command.
func appendFields(b []byte, c Command, ends map[int]uint64) []byte {
	switch c := c.(type) {
	case Directory:
		return appendMetadata(b, &c.Metadata, maskAll)
	case Write:
		return appendParts(appendBefore(b, c.Before), c.Parts, ends)
	case PlainFile:
		b = appendBefore(appendMetadata(b, &c.Metadata, maskAll), c.Before)
		b = append(binary.AppendUvarint(b, c.Size), c.Digest[:]...)
		return appendParts(b, c.Parts, ends)
	case Symlink:
		return appendString(appendBefore(appendMetadata(b, &c.Metadata, maskAll), c.Before), c.Target)
	case Device:
		b = appendBefore(appendMetadata(b, &c.Metadata, maskAll), c.Before)
		return binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.Major)), uint64(c.Minor))
	case FIFO:
		return appendBefore(appendMetadata(b, &c.Metadata, maskAll), c.Before)
	case Link:
		return appendString(appendBefore(b, c.Before), c.To)
	case Move:
		return appendString(appendBefore(appendBefore(b, c.Before), c.Moved), c.From)
	case Meta:
		return appendMetadata(append(b, byte(c.Mask)), &c.Metadata, c.Mask)
	}
	return b // Delete has none
}

func appendBefore(b []byte, before Before) []byte { return binary.AppendUvarint(b, uint64(before)) }

func appendMetadata(b []byte, m *Metadata, mask Mask) []byte {
	if mask&MaskMode != 0 {
		b = binary.AppendUvarint(b, uint64(m.Mode))
	}
	if mask&MaskUID != 0 {
		b = binary.AppendUvarint(b, uint64(m.UID))
	}
	if mask&MaskGID != 0 {
		b = binary.AppendUvarint(b, uint64(m.GID))
	}
	if mask&MaskTime != 0 {
		b = binary.AppendUvarint(appendVarint(b, m.Seconds), uint64(m.Nanoseconds))
	}
	if mask&MaskAttributes != 0 {
		b = binary.AppendUvarint(b, uint64(len(m.Attributes)))
		for _, a := range m.Attributes {
			b = appendString(appendString(b, a.Name), string(a.Value))
		}
	}
	return b
}

func appendParts(b []byte, parts []Part, ends map[int]uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = binary.AppendUvarint(b, p.Length<<2|uint64(p.Kind))
		if p.Kind == Copy {
			b = appendOffset(binary.AppendUvarint(b, uint64(p.File)), p.Offset, ends[p.File])
			ends[p.File] = p.Offset + p.Length
		}
		if p.Kind == Repack && p.Length > 0 {
			if b = append(b, byte(p.By)); p.By != AsItIs {
				continue
			}
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(p.File)), p.Offset)
			b = binary.AppendUvarint(b, uint64(len(p.Arguments)))
			for _, argument := range p.Arguments {
				b = appendString(b, argument)
			}
		}
	}
	return b
}
