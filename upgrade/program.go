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
	if err != nil { // called by a name that is not where it is
		p.Path, _ = os.Executable()
	}
	return p
}

// Possible returns why no new process can be put in the place of this one, nil if one can.
func Possible() error {
	switch {
	case runtime.GOOS != "linux":
		return fmt.Errorf("an upgrade of a running process works on Linux only, not on %s; restart credproxy", runtime.GOOS)
	case os.Getpid() == 1:
		return errors.New("credproxy is process 1 of a container, which ends with it; have the platform start a container of the new image and then stop this one (docs/upgrade.md)")
	case os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) && os.Getenv("NOTIFY_SOCKET") == "":
		return errors.New("systemd would end the new process with this one, since it takes no word of it; set Type=notify in the unit, and restart credproxy")
	}
	return nil
}
