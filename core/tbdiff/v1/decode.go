package v1

import "math"

// decodeHeader takes the header's bytes apart.
func decodeHeader(b []byte) (Header, error) {
	f := &fields{rest: b}
	var h Header
	switch kind := f.byte(); kind {
	case 0:
	case 1:
		origin := f.digest()
		h.Origin = &origin
	default:
		f.fail("an origin of kind %d", kind)
	}
	h.Target = f.digest()
	h.ContentLimit, h.SourceLimit = f.uvarint(), f.uvarint()
	h.Totals = Totals{Commands: f.uvarint(), Content: f.uvarint(), Written: f.uvarint()}
	f.end("header")
	f.refuse(h.check())
	return h, f.fault
}

// end makes sure that nothing is left.
func (f *fields) end(what string) {
	if f.fault == nil && len(f.rest) > 0 {
		f.fail("%d bytes are left over at the end of the %s", len(f.rest), what)
	}
}

// section decodes the commands section of a frame.
type section struct {
	fields
	frame *Frame
	paths paths          // of the commands
	ends  map[int]uint64 // for each file, where the last copy from it ended
}

// decodeSection fills the frame from its commands section.
func decodeSection(b []byte, frame *Frame) error {
	s := &section{fields: fields{rest: b}, frame: frame, ends: map[int]uint64{}}
	s.decodeSource()
	for s.fault == nil && len(s.rest) > 0 {
		frame.Commands = append(frame.Commands, s.command())
	}
	return s.fault
}

func (s *section) decodeSource() {
	var names paths
	for n := s.count("files"); n > 0 && s.fault == nil; n-- {
		s.frame.Files = append(s.frame.Files, File{Path: names.next(&s.fields), Size: s.uvarint(), Digest: s.digest(), View: s.view()})
	}
	ends := map[int]uint64{}
	for n := s.count("ranges"); n > 0 && s.fault == nil; n-- {
		file := s.file()
		r := Range{File: file, Offset: s.offset(ends[file]), Length: s.uvarint()}
		ends[file] = r.Offset + r.Length
		s.frame.Ranges = append(s.frame.Ranges, r)
	}
}

func (s *section) view() View {
	v := View{Method: PackedBy(s.byte())}
	if v.Method != AsItIs {
		v.Offset, v.Length, v.Size = s.uvarint(), s.uvarint(), s.uvarint()
	}
	return v
}

func (s *section) file() int {
	if len(s.frame.Files) == 0 {
		s.fail("the frame lists no files")
		return 0
	}
	return int(s.most(uint64(len(s.frame.Files)-1), "the number of a file"))
}

// command decodes one. Go evaluates the calls in each literal from left to right, so
// the fields stand here in the order of the format.
func (s *section) command() Command {
	op := Op(s.byte())
	path := Path(s.paths.next(&s.fields))
	switch op {
	case OpDirectory:
		return Directory{path, s.metadata(maskAll)}
	case OpWrite:
		return Write{path, s.before(), s.parts()}
	case OpFile:
		return PlainFile{Path: path, Metadata: s.metadata(maskAll), Before: s.before(), Size: s.most(math.MaxInt64, "the size of a file"), Digest: s.digest(), Parts: s.parts()}
	case OpSymlink:
		return Symlink{path, s.metadata(maskAll), s.before(), s.string(MaxPath, "a link's target")}
	case OpCharacter, OpBlock:
		return Device{Path: path, Metadata: s.metadata(maskAll), Before: s.before(), Block: op == OpBlock, Major: s.uint32("a device number"), Minor: s.uint32("a device number")}
	case OpFIFO:
		return FIFO{path, s.metadata(maskAll), s.before()}
	case OpLink:
		return Link{path, s.before(), s.string(MaxPath, "a path")}
	case OpMove:
		return Move{path, s.before(), s.before(), s.string(MaxPath, "a path")}
	case OpMeta:
		mask := Mask(s.byte())
		return Meta{path, mask, s.metadata(mask)}
	case OpDelete:
		return Delete{path}
	}
	s.fail("there is no command %d", op)
	return Delete{path}
}

func (s *section) before() Before {
	return Before(s.most(uint64(len(s.frame.Files)), "the number of a file"))
}

func (s *section) uint32(what string) uint32 { return uint32(s.most(math.MaxUint32, what)) }

// metadata decodes the fields that mask names.
func (s *section) metadata(mask Mask) Metadata {
	var m Metadata
	if mask&MaskMode != 0 {
		m.Mode = s.uint32("a mode")
	}
	if mask&MaskUID != 0 {
		m.UID = s.uint32("a user id")
	}
	if mask&MaskGID != 0 {
		m.GID = s.uint32("a group id")
	}
	if mask&MaskTime != 0 {
		m.Seconds, m.Nanoseconds = s.varint(), s.uint32("a part of a second")
	}
	if mask&MaskAttributes != 0 {
		for n := s.count("attributes"); n > 0 && s.fault == nil; n-- {
			name := s.string(MaxPath, "the name of an attribute")
			m.Attributes = append(m.Attributes, Attribute{Name: name, Value: s.take(s.uvarint())})
		}
	}
	return m
}

func (s *section) parts() []Part {
	var parts []Part
	for n := s.count("parts"); n > 0 && s.fault == nil; n-- {
		word := s.uvarint()
		p := Part{Kind: PartKind(word & 3), Length: word >> 2}
		switch p.Kind {
		case Data, Hole:
		case Copy:
			p.File = s.file()
			p.Offset = s.offset(s.ends[p.File])
			s.ends[p.File] = p.Offset + p.Length
		case Repack:
			if p.Length == 0 {
				break
			}
			if p.By = PackedBy(s.byte()); p.By == AsItIs {
				p.File, p.Offset, p.Arguments = s.file(), s.uvarint(), s.arguments()
			}
		}
		parts = append(parts, p)
	}
	return parts
}

func (s *section) arguments() []string {
	var arguments []string
	for n := s.count("arguments"); n > 0 && s.fault == nil; n-- {
		arguments = append(arguments, s.string(MaxPath, "an argument"))
	}
	return arguments
}
