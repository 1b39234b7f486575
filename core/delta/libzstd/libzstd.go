//go:build cgo && libzstd

// Package libzstd packs with the C library of Zstandard, whose highest levels make less of
// the same bytes than an encoder in Go does. Only a program that is built with the tag libzstd,
// where that library and a C compiler are, has it.
package libzstd

/*
#cgo LDFLAGS: -lzstd
#include <zstd.h>

// pack does all of one frame: a size, or what ZSTD_isError says of it.
static size_t pack(void *to, size_t room, const void *content, size_t size,
                   const void *source, size_t source_size, int level, int window_log, int chain_log) {
	ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t n;
	if (context == NULL) {
		return (size_t)-64;
	}
	if (ZSTD_isError(n = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(n = ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log)) ||
	    ZSTD_isError(n = ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, chain_log)) ||
	    (source_size > 0 && ZSTD_isError(n = ZSTD_CCtx_refPrefix(context, source, source_size)))) {
		ZSTD_freeCCtx(context);
		return n;
	}
	n = ZSTD_compress2(context, to, room, content, size);
	ZSTD_freeCCtx(context);
	return n;
}
*/
import "C"

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// Available says that the program has the library.
const Available = true

// Pack packs content into one Zstandard frame, with its size, without a checksum. source is
// a raw dictionary, which the frame does not name; it may be empty.
func Pack(content, source []byte, level int) ([]byte, error) {
	to := make([]byte, C.ZSTD_compressBound(C.size_t(len(content))))
	windowLog := max(bits.Len(uint(len(content)+len(source))), 17)
	n := C.pack(unsafe.Pointer(unsafe.SliceData(to)), C.size_t(len(to)), unsafe.Pointer(unsafe.SliceData(content)), C.size_t(len(content)),
		unsafe.Pointer(unsafe.SliceData(source)), C.size_t(len(source)), C.int(level), C.int(windowLog), C.int(min(windowLog+1, 24)))
	if C.ZSTD_isError(n) != 0 {
		return nil, fmt.Errorf("libzstd cannot pack: %s", C.GoString(C.ZSTD_getErrorName(n)))
	}
	return to[:n:n], nil
}
