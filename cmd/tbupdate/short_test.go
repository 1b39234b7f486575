//go:build !full

package main

// faultModes are those that are tried at every call; the build tag "full" tries all.
var faultModes = []faultMode{failsAfter}
