//go:build full

package uboot_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/uboot"
)

func TestEachCounts(t *testing.T) {
	store := cache.Store{Directory: "../../build/cache/lab"}
	for _, environment := range uboot.Environments {
		built, err := uboot.Build(t.Context(), store, environment)
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(built.Firmware)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(program, []byte("Bootlimit (%lu) exceeded")) {
			t.Errorf("the U-Boot with the environment %s does not know bootlimit", environment)
		}
		variables, err := os.ReadFile(built.Variables)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(variables, []byte("\nbootcmd=")) {
			t.Errorf("U-Boot's own variables for the environment %s have no bootcmd", environment)
		}
	}
	if _, err := uboot.Build(t.Context(), store, "eeprom"); err == nil {
		t.Error("there is a U-Boot with an environment that nobody knows")
	}
}
