// Package qemu runs virtual machines as QEMU processes: power on, reset, power
// cut, a console whose lines carry the time at which they came, and an agent in
// the guest that runs commands. It knows nothing of what is tested with it.
//
// A Machine is the hardware: it outlives the QEMU process, which is its power.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// Config says what the machine is made of.
type Config struct {
	// Program is the emulator, such as "qemu-system-x86_64".
	Program string
	// Arguments are those of the board: machine, processor, firmware, clock. What the
	// lab talks through (console, agent, QMP) and the disks are added.
	Arguments []string
	Memory    int // in MiB
	Disks     []Disk
	// Directory is a directory of the machine's own, for its sockets. Its path is
	// short: a Unix socket's has at most 107 bytes (unix(7)).
	Directory string
}

// Disk is a virtio disk. The first becomes vda.
type Disk struct {
	Path     string
	Format   string // "raw" or "qcow2"
	ReadOnly bool
	log      string // see Record
}

// Machine is a virtual machine that can be switched on and off. Its methods may be
// called from one goroutine at a time, but for those of its Console.
type Machine struct {
	Console *Console

	config  Config
	process *process // nil while the power is off
}

// process is QEMU from power on to power off.
type process struct {
	command *exec.Cmd
	agent   *agent
	monitor *monitor
	// ended is closed when QEMU is gone; status is valid then.
	ended  chan struct{}
	status error
	stderr *tail
}

// ErrOff is the error of what needs a machine that is on.
var ErrOff = errors.New("the machine is off")

// New gives a machine that is off.
func New(config Config) *Machine {
	return &Machine{Console: newConsole(), config: config}
}

// startTimeout is for QEMU itself to start, not for the guest.
const startTimeout = 30 * time.Second

// PowerOn starts the machine, from cold.
func (m *Machine) PowerOn() error {
	if m.process != nil {
		return errors.New("cannot power on: the machine is on")
	}
	p, err := m.start()
	if err != nil {
		return fmt.Errorf("cannot power on: %w", err)
	}
	m.process = p
	return nil
}

func (m *Machine) start() (_ *process, err error) {
	agentSocket, err := listen(filepath.Join(m.config.Directory, "agent"))
	if err != nil {
		return nil, err
	}
	defer agentSocket.Close()
	monitorSocket, err := listen(filepath.Join(m.config.Directory, "qmp"))
	if err != nil {
		return nil, err
	}
	defer monitorSocket.Close()

	p := &process{ended: make(chan struct{}), stderr: &tail{}}
	p.command = exec.Command(m.config.Program, m.arguments()...)
	p.command.Stderr = p.stderr
	// A machine never outlives the program that runs it.
	p.command.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	output, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.run(p); err != nil {
		return nil, err
	}
	m.Console.note("power on")
	var reading sync.WaitGroup
	reading.Go(func() { m.Console.read(output) })
	go func() {
		reading.Wait() // Wait closes the pipe, which must have been read by then
		p.status = p.command.Wait()
		m.Console.note("power off")
		close(p.ended)
	}()
	defer func() {
		if err != nil {
			_ = p.command.Process.Kill()
			<-p.ended
			err = fmt.Errorf("%w: %s", err, p.stderr) // which is complete now
		}
	}()
	link, err := p.accept(monitorSocket)
	if err != nil {
		return nil, err
	}
	// The guest does not run before QEMU is connected to the agent's socket, and
	// hears nothing before it opens its end.
	guest, err := p.accept(agentSocket)
	if err != nil {
		return nil, err
	}
	p.agent = newAgent(guest)
	p.monitor, err = newMonitor(link, func(event string) {
		m.Console.note(event)
		if event == "RESET" {
			p.agent.forget()
		}
	})
	return p, err
}

// run starts QEMU from a thread that lives as long as this program: Pdeathsig is
// about the death of the thread that started it (prctl(2)).
func (m *Machine) run(p *process) error { return onLastingThread(p.command.Start) }

// arguments gives QEMU's command line.
func (m *Machine) arguments() []string {
	arguments := append([]string{}, m.config.Arguments...)
	arguments = append(arguments,
		"-m", strconv.Itoa(m.config.Memory),
		"-display", "none", "-nodefaults", "-no-user-config",
		"-action", "watchdog=reset",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=agent,path="+filepath.Join(m.config.Directory, "agent"),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name="+protocol.Port,
		"-qmp", "unix:"+filepath.Join(m.config.Directory, "qmp"))
	for i, disk := range m.config.Disks {
		node := fmt.Sprintf("disk%d", i)
		arguments = append(append(arguments, disk.arguments(node)...), "-device", "virtio-blk-pci,drive="+node)
	}
	return arguments
}

// arguments give the disk a name.
func (d Disk) arguments(node string) []string {
	// Neither way leaves flushes out, and what the guest wrote stays in this machine's page cache when
	// QEMU is killed: so a power cut is none that a disk with a cache of its own would not make.
	blockdev := func(format string, values ...any) []string {
		return []string{"-blockdev", fmt.Sprintf(format, values...)}
	}
	format := node
	if d.log != "" {
		format += "-recorded"
	}
	arguments := slices.Concat(
		blockdev("driver=file,node-name=%s-file,filename=%s,read-only=%s", node, escaped(d.Path), onOff(d.ReadOnly)),
		blockdev("driver=%s,node-name=%s,file=%s-file,read-only=%s", d.Format, format, node, onOff(d.ReadOnly)),
	)
	if d.log != "" {
		arguments = slices.Concat(arguments,
			blockdev("driver=file,node-name=%s-log,filename=%s", node, escaped(d.log)),
			// The log has to be whole also when the power was cut.
			blockdev("driver=blklogwrites,node-name=%s,file=%s,log=%s-log,log-sector-size=512,log-super-update-interval=1", node, format, node),
		)
	}
	return arguments
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// escaped gives a path as an option has it.
func escaped(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// Record has all that the guest writes onto a disk and flushes recorded in a new file, as lab/powercut
// reads it, from the next power on to the power off after that; "" for no more.
func (m *Machine) Record(disk int, log string) error {
	if m.process != nil {
		return errors.New("cannot record a disk: the machine is on")
	}
	m.config.Disks[disk].log = log
	if log == "" {
		return nil
	}
	return os.WriteFile(log, nil, 0o600)
}

// listen makes a socket for QEMU to connect to; so nobody has to wait for QEMU to
// make one.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// accept waits for QEMU to connect.
func (p *process) accept(socket *net.UnixListener) (net.Conn, error) {
	if err := socket.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.ended:
			socket.Close()
		case <-stop:
		}
	}()
	link, err := socket.Accept()
	if err != nil {
		return nil, fmt.Errorf("%s does not start: %w", p.command.Path, err)
	}
	return link, nil
}

// On says whether the machine is on. It goes off by itself when the guest powers off.
func (m *Machine) On() bool {
	if m.process == nil {
		return false
	}
	select {
	case <-m.process.ended:
		m.release()
		return false
	default:
		return true
	}
}

// CutPower ends the machine at once: what the guest had not written is lost. A machine
// that is off stays so.
func (m *Machine) CutPower() {
	if m.process == nil {
		return
	}
	_ = m.process.command.Process.Kill() // fails only when it has ended
	<-m.process.ended
	m.release()
}

func (m *Machine) release() {
	m.process.agent.close()
	m.process.monitor.close()
	m.process = nil
}

// Reset presses the reset button.
func (m *Machine) Reset() error {
	if !m.On() {
		return fmt.Errorf("cannot reset: %w", ErrOff)
	}
	m.process.agent.forget()
	if err := m.process.monitor.execute("system_reset"); err != nil {
		return fmt.Errorf("cannot reset: %w", err)
	}
	return nil
}

// WaitOff waits until the guest has powered off.
func (m *Machine) WaitOff(ctx context.Context) error {
	if m.process == nil {
		return nil
	}
	select {
	case <-m.process.ended:
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for power off: %w; the console's end:\n%s", ctx.Err(), m.Console.Last(20))
	}
	err := m.process.status
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", m.config.Program, err, m.process.stderr)
	}
	m.release()
	return err
}

// WaitUp waits until the agent of the guest has said hello since the last start or
// reset.
func (m *Machine) WaitUp(ctx context.Context) error {
	if !m.On() {
		return fmt.Errorf("cannot wait for the guest: %w", ErrOff)
	}
	select {
	case <-m.process.agent.hello():
		return nil
	case <-m.process.ended:
		return fmt.Errorf("cannot wait for the guest: %w: %s; the console's end:\n%s", ErrOff, m.process.stderr, m.Console.Last(20))
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for the guest: %w; the console's end:\n%s", ctx.Err(), m.Console.Last(20))
	}
}

// Run lets the guest's shell run a command.
//
// Errors: those of the way there (the machine is off, was reset, does not answer).
// A command that fails is an answer.
func (m *Machine) Run(ctx context.Context, command string) (protocol.Answer, error) {
	if !m.On() {
		return protocol.Answer{}, fmt.Errorf("cannot run %q in the guest: %w", command, ErrOff)
	}
	answer, err := m.process.agent.run(ctx, command, m.process.ended)
	if err != nil {
		return protocol.Answer{}, fmt.Errorf("cannot run %q in the guest: %w; the console's end:\n%s", command, err, m.Console.Last(10))
	}
	return answer, nil
}
