package upgrade

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// variable tells a new process how many descriptors it was passed.
const variable = "CREDPROXY_HANDOVER"

// ofOneProcess are the variables that tell a process about itself, and would be wrong in
// another: what systemd passes, whose sockets are passed on in our own way.
var ofOneProcess = []string{variable, "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"}

// Program is what a process was started as.
type Program struct {
	Path string   // where the program was found, whatever lies there by now
	Args []string // with the name it was called by
	Env  []string
}

// Self returns what this process was started as. Call it before anything changes the
// environment or the working directory.
//
// The path is the one that the program was called by: a link there may lead to another
// version by the time of an upgrade, where the kernel knows but the file of this one.
func Self() Program {
	p := Program{Args: os.Args, Env: slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ofOneProcess, name)
	})}
	var err error
	if p.Path, err = exec.LookPath(os.Args[0]); err == nil {
		p.Path, err = filepath.Abs(p.Path)
	}
	own, ownErr := os.Executable()
	if ownErr == nil && (err != nil || !sameFile(p.Path, own)) { // called by a name that is not where it is
		p.Path = own
	}
	return p
}

// Possible returns why no new process can be put in the place of this one, nil if one can.
func Possible() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("an upgrade of a running process works on Linux only, not on %s; restart credproxy", runtime.GOOS)
	}
	return possible(os.Getpid(), os.Getppid(), os.Getenv)
}

func possible(pid, parent int, getenv func(string) string) error {
	unit := getenv("INVOCATION_ID") != "" && parent == 1 || getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(pid)
	const instead = "; have the platform start a container of the new image and then stop this one (docs/upgrade.md)"
	switch {
	case pid == 1:
		return errors.New("credproxy is process 1 of a container, which ends with it" + instead)
	case parent == 0:
		return errors.New("credproxy was started from outside of its container, which may end with it" + instead)
	case parent == 1 && !unit:
		return errors.New("credproxy is the child of process 1, which is not systemd: in a container that ends with credproxy" + instead)
	case unit && getenv("NOTIFY_SOCKET") == "":
		return errors.New("systemd would end the new process with this one, since it takes no word of it; set Type=notify in the unit, and restart credproxy")
	}
	return nil
}

// sameFile reports whether two paths lead to one file, links followed.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
