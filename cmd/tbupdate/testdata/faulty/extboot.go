// Command tbupdate-boot-extboot is the plugin with a fault in one of its calls.
package main

import (
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/serve"
)

func main() { serve.Boot(faultyBoot{bootdir.New(program("faulty")), readFault()}) }
