//go:build !full

package main

// thorough is true with the build tag "full" ("make test-full"): then the tests of
// faults and signals try every mode at every call, phase and writing of the journal, and
// go on with another update; the sequences of updates are long ones.
const thorough = false
