// Command tbupdate-fs-btrfs is the plugin with a fault in one of its calls.
package main

import "github.com/trebuchet-update/tbupdate/sdk/serve"

func main() { serve.FS(faultyFS{newPlugin("faulty"), readFault()}) }
