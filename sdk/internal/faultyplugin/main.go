// Program faultyplugin is a plugin for tests of hosts: its file name,
// tbupdate-KIND-BEHAVIOUR, says what it does wrong. A behaviour that is not known
// here is a plugin that works. A name tbupdate-KIND-BEHAVIOUR-WAY is served by
// go-plugin's own Serve.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk/serve"
)

func main() {
	kind, name, ok := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "tbupdate-"), "-")
	if !ok {
		fmt.Fprintln(os.Stderr, "cannot run: the name is not tbupdate-KIND-BEHAVIOUR")
		os.Exit(2)
	}
	behaviour, way, stock := strings.Cut(name, "-")
	beforeServe(behaviour)
	p := &faulty{kind: kind, name: name, behaviour: behaviour}
	if stock {
		serveStock(way, &fs{faulty: p})
		return
	}
	if kind == "boot" && behaviour != "otherkind" || kind == "fs" && behaviour == "otherkind" {
		serve.Boot(&boot{faulty: p})
		return
	}
	serve.FS(&fs{faulty: p})
}

// beforeServe does what goes wrong before a plugin is served.
func beforeServe(behaviour string) {
	handshake := func(line string) {
		fmt.Println(line)
		time.Sleep(time.Hour)
	}
	directory := os.Getenv("PLUGIN_UNIX_SOCKET_DIR")
	switch behaviour {
	case "exits":
		fmt.Fprintln(os.Stderr, "the library libmissing.so is not there")
		os.Exit(3)
	case "prints":
		fmt.Println("Hello, I am a plugin!")
	case "hangs":
		time.Sleep(time.Hour)
	case "version":
		handshake("1|7|unix|" + directory + "/socket|grpc|")
	case "coreversion":
		handshake("2|1|unix|" + directory + "/socket|grpc|")
	case "netrpc":
		handshake("1|1|unix|" + directory + "/socket|netrpc|")
	case "elsewhere":
		handshake("1|1|unix|/run/dbus/system_bus_socket|grpc|")
	case "tcp":
		handshake("1|1|tcp|127.0.0.1:22|grpc|")
	case "nosocket":
		handshake("1|1|unix|" + directory + "/socket|grpc|")
	}
}
