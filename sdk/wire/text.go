package wire

import (
	"strings"
	"time"

	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

// text makes s fit a protobuf string, which must be UTF-8. It is for words that
// the contract fixes and for prose; what may hold a name or path travels as
// bytes.
func text[S ~string](s S) string { return strings.ToValidUTF8(string(s), "\uFFFD") }

func texts[S ~string](list []S) []string { return convert(list, text[S]) }

func words[S ~string](list []string) []S {
	return convert(list, func(s string) S { return S(s) })
}

func toBytes(list []string) [][]byte {
	return convert(list, func(s string) []byte { return []byte(s) })
}

func fromBytes(list [][]byte) []string {
	return convert(list, func(b []byte) string { return string(b) })
}

// convert gives f of each element, nil for none.
func convert[From, To any](list []From, f func(From) To) []To {
	if len(list) == 0 {
		return nil
	}
	out := make([]To, 0, len(list))
	for _, element := range list {
		out = append(out, f(element))
	}
	return out
}

func toTime(t time.Time) *pluginv1.Time {
	if t.IsZero() {
		return nil
	}
	return &pluginv1.Time{Seconds: t.Unix(), Nanoseconds: int32(t.Nanosecond())}
}

func fromTime(t *pluginv1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Unix(t.GetSeconds(), int64(t.GetNanoseconds())).UTC()
}
