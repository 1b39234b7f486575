//go:build full

package main

// thorough is true with the build tag "full": see there.
const thorough = true
