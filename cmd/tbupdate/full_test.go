//go:build full

package main

// faultModes are those that are tried at every call.
var faultModes = []faultMode{failsBefore, failsAfter, staysDown}
