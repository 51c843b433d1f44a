package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// stage is everything that runs during the demo.
type stage struct {
	plan      plan
	out       *printer
	binaries  binaries
	databases []*database
	aws       *awsstub.Server
	proxy     *sidecar.Proxy
}

// start starts databases, AWS, the rotation functions and credproxy.
func (s *stage) start(ctx context.Context) error {
	s.out.title("Starting")
	err := s.each(ctx, func(ctx context.Context, db *database) (err error) {
		db.first = rand.Text()
		if db.alternating {
			db.passwords.master = rand.Text()
		}
		db.server, err = db.start(ctx, db.name, db.passwords)
		return err
	})
	if err != nil {
		return err
	}
	if s.aws, err = awsstub.Start(awsstub.Options{}); err != nil {
		return err
	}
	config := "databases:\n"
	for _, db := range s.databases {
		if err := s.createSecrets(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db.name, err)
		}
		config += db.config()
	}
	s.out.line("AWS       a stand-in for Secrets Manager, %s", s.aws.URL())
	if err := s.each(ctx, s.startFunction); err != nil {
		return fmt.Errorf("start the rotation function: %w", err)
	}
	s.out.line("rotation  credproxy-rotation in a stand-in for Lambda, one for each secret; AWS allows each no more than")
	s.out.line("          credproxy policy --for rotation prints")
	s.out.line("credproxy with this configuration:\n\n%s", indent(config))
	s.proxy, err = sidecar.Start(sidecar.Options{Binary: s.binaries.credproxy, Config: config, Env: s.aws.Env()})
	if err != nil {
		return fmt.Errorf("start credproxy: %w", err)
	}
	return s.each(ctx, func(_ context.Context, db *database) error {
		addrs, err := s.proxy.Addrs(db.name, 1)
		if err != nil {
			return err
		}
		db.addr = addrs[0]
		return nil
	})
}

// createSecrets stores the first user's secret, which names the master's if there is
// one, and says what there is.
func (s *stage) createSecrets(ctx context.Context, db *database) error {
	if has, err := db.HasUser(ctx, users[1]); err != nil || has {
		return fmt.Errorf("%s must not exist yet: %v, %w", users[1], has, err)
	}
	s.out.line("%-9s %s, logins only over TLS with a password; user %s, secret %s", db.name, db.Product(), users[0], db.secret())
	var masterARN string
	if db.alternating {
		masterARN = s.aws.CreateSecret(db.masterSecret(), db.Secret(master, db.passwords.master, ""))
		s.out.line("          and for the rotation function user %s, secret %s; there is no %s yet", master, db.masterSecret(), users[1])
	}
	s.aws.CreateSecret(db.secret(), db.Secret(users[0], db.first, masterARN))
	return nil
}

// each calls f for all databases at a time.
func (s *stage) each(ctx context.Context, f func(context.Context, *database) error) error {
	var calls []func(context.Context) error
	for _, db := range s.databases {
		calls = append(calls, func(ctx context.Context) error {
			if err := f(ctx, db); err != nil {
				return fmt.Errorf("%s: %w", db.name, err)
			}
			return nil
		})
	}
	return together(ctx, calls...)
}

// together runs calls at the same time and waits for all of them. The first that
// fails ends the context of the others and gives the error.
func together(ctx context.Context, calls ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, call := range calls {
		running.Go(func() {
			if err := call(ctx); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// stop ends what start started, and is the last to judge credproxy: did it end in
// order, and kept it and the rotation function the passwords to themselves?
func (s *stage) stop() error {
	var errs []error
	if s.proxy != nil {
		if code := s.proxy.Stop(); code != 0 {
			errs = append(errs, fmt.Errorf("credproxy ended with status %d:\n%s", code, lastLines(s.proxy.Log(), 10)))
		}
		for _, password := range s.passwords() {
			if strings.Contains(s.proxy.Log(), password) {
				errs = append(errs, errors.New("a password is in the log of credproxy"))
			}
		}
	}
	for _, db := range s.databases {
		if db.function == nil {
			continue
		}
		db.function.Close()
		for _, password := range s.passwords() {
			if strings.Contains(db.function.Logs(), password) {
				errs = append(errs, fmt.Errorf("%s: a password is in the log of the rotation function", db.name))
			}
		}
	}
	if s.aws != nil {
		s.aws.Close()
	}
	for _, db := range s.databases {
		if db.server != nil {
			db.Stop()
		}
	}
	return errors.Join(errs...)
}

// passwords are all that the secrets ever held.
func (s *stage) passwords() []string {
	var all []string
	for _, db := range s.databases {
		all = append(all, db.first)
		if db.alternating {
			all = append(all, db.passwords.master)
		}
		for _, v := range s.aws.Secret(db.secret()).Versions {
			if v.Text != nil {
				_, password := credential(*v.Text)
				all = append(all, password)
			}
		}
	}
	return all
}

// hello connects with each product's own client.
func (s *stage) hello(ctx context.Context) error {
	s.out.title("Connecting without a password")
	for _, db := range s.databases {
		command, output, err := db.Hello(ctx, db.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", db.name, err)
		}
		s.out.line("$ %s\n%s\n", command, indent(output))
	}
	s.out.line("The user is the secret's; TLS is what the server sees, between credproxy and itself.")
	return nil
}

// current is what AWSCURRENT names now.
func (s *stage) current(db *database) (user, password string) {
	return credential(*s.aws.Secret(db.secret()).Stage(awsstub.Current).Text)
}

// credential reads a secret.
func credential(text string) (user, password string) {
	var doc struct{ Username, Password string }
	_ = json.Unmarshal([]byte(text), &doc) // the demo itself wrote it
	return doc.Username, doc.Password
}
