//go:build full

package scenario_test

const defaultSet = "full"
