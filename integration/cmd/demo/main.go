// Command demo shows what credproxy is for: real databases whose passwords rotate
// under load, and clients that neither know a password nor notice.
//
//	demo -credproxy ../bin/credproxy -rotation ../bin/credproxy-rotation
//
// It starts the databases that [databases] lists, stand-ins for AWS, the given
// credproxy and, for each secret, the given rotation function. It looks around with
// each database's own client, puts load on, has each secret rotated a few times, and
// prints what happened. Its exit status is 1 if
// anything went wrong, a single failed login included. Everything it started is
// stopped and removed at its end, also when interrupted.
//
// It measures nothing in earnest: the machine also runs the databases and the load.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// binaries are the paths of what is shown.
type binaries struct{ credproxy, rotation string }

// plan is how long things take.
type plan struct {
	rotations int           // of each secret
	gap       time.Duration // before each of them
	window    time.Duration // between setSecret and finishSecret
	load      time.Duration // at least; it outlasts the rotations
	samples   int           // of a login's time
}

var fullPlan = plan{rotations: 3, gap: 1500 * time.Millisecond, window: 2 * time.Second, load: 16 * time.Second, samples: 30}

func main() {
	var b binaries
	flag.StringVar(&b.credproxy, "credproxy", "../bin/credproxy", "the credproxy to show, a `path`")
	flag.StringVar(&b.rotation, "rotation", "../bin/credproxy-rotation", "the rotation function to show, a `path`")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, newPrinter(os.Stdout), b, fullPlan)
	stop()
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted; everything is stopped and removed")
		}
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out *printer, b binaries, p plan) (err error) {
	s := &stage{plan: p, out: out, binaries: b, databases: databases()}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.hello(ctx); err != nil {
		return err
	}
	if err := s.rotateUnderLoad(ctx); err != nil {
		return err
	}
	out.title("Login time, one after the other, no other load")
	for _, db := range s.databases {
		if err := s.timeLogins(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db.name, err)
		}
		out.line("%-9s median of %d: directly %s, through credproxy %s", db.name, p.samples, ms(db.direct), ms(db.proxied))
	}
	out.line("With SCRAM a direct client derives the key of its password at each login, credproxy once.")
	return s.report(ctx)
}
