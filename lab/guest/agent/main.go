// The agent of the lab in a guest. As process 1 it is the init of the lab's small
// system; with the argument "service" it only serves, in a system that has an init
// of its own.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

func main() {
	err := run()
	say(protocol.Trouble, "agent: %v", err)
	os.Exit(1)
}

func run() error {
	if os.Getpid() == 1 {
		return beInit()
	}
	if len(os.Args) != 2 {
		return fmt.Errorf("it takes one argument: service or system")
	}
	switch os.Args[1] {
	case "service":
		return serve(func() {})
	case "system":
		return system()
	}
	return fmt.Errorf("unknown argument %q", os.Args[1])
}

// say prints a line on the console.
func say(what, format string, arguments ...any) {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return // there is no other place to say so
	}
	defer console.Close()
	text := fmt.Sprintf(format, arguments...)
	fmt.Fprintf(console, "\n%s %s\n", what, strings.TrimRight(text, "\n"))
}
