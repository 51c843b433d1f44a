package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// keeper runs a server ("$@") and removes its folder ($1) when it is gone. It
// ends the server when file descriptor 3 closes, which happens when the test
// says so and also when the test process dies, however it dies. A server that
// does not heed the signals that end it ($2), in 10 s each, is killed. A signal
// is repeated because a server that has only begun to start ignores it.
const keeper = `
dir=$1
signals=$2
shift 2
"$@" 3<&- &
server=$!
(
	read -r _ <&3
	for signal in $signals KILL; do
		tries=0
		while [ $tries -lt 200 ] && kill -s $signal $server; do
			sleep 0.05
			tries=$((tries + 1))
		done
	done
) 2>/dev/null &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
rm -rf "$dir"
exit $status
`

// process is a running server under its keeper.
type process struct {
	folder string
	gone   chan struct{} // closed when the server has ended and its folder is removed

	lifeline *os.File // the keeper holds the other end
	log      *os.File // outlives its name; left open so that it can be read after stop
}

// start runs a server whose files are in folder. From here on the folder is
// the keeper's to remove. The signals, such as "INT QUIT", are those that end
// the server, the gentler first.
func start(as *syscall.Credential, folder, signals string, env []string, command ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(folder, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	keeperEnd, lifeline, err := os.Pipe()
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("make lifeline: %w", err)
	}
	defer keeperEnd.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", keeper, "keeper", folder, signals}, command...)...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{keeperEnd}
	// A group of its own: an interrupt typed at a terminal is for the test alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	if err := cmd.Start(); err != nil {
		log.Close()
		lifeline.Close()
		return nil, fmt.Errorf("start server: %w", err)
	}
	p := &process{folder: folder, gone: make(chan struct{}), lifeline: lifeline, log: log}
	go func() {
		defer close(p.gone)
		cmd.Wait() // why it ended stands in the log
	}()
	return p, nil
}

// awaitLogin returns when login succeeds, or the server ends, or a minute is over.
func (p *process) awaitLogin(ctx context.Context, login func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := login(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.gone:
			return errors.New("the server ended at its start")
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w", err)
		case <-again.C:
		}
	}
}

// stop ends the server and returns when it is gone.
func (p *process) stop() {
	p.lifeline.Close()
	<-p.gone
}

// kill ends the server, whose process id begins the file, by SIGKILL, and returns when it
// is gone.
func (p *process) kill(pidFile string) error {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil || pid <= 1 {
		return fmt.Errorf("%s names no process: %w", pidFile, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the server: %w", err)
	}
	p.stop()
	return nil
}

// readAll is all that is in a log.
func readAll(log *os.File) (string, error) {
	var b strings.Builder
	_, err := io.Copy(&b, io.NewSectionReader(log, 0, math.MaxInt64))
	return b.String(), err
}

// logText is the end of what the server has logged so far, 64 KiB at most.
func (p *process) logText() string {
	const most = 64 << 10
	size, err := p.log.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(io.NewSectionReader(p.log, max(0, size-most), most))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
