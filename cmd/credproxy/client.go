package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
)

const (
	clientTimeout = 10 * time.Second // for one request to the admin server
	maxAnswer     = 16 << 20         // bytes of its answer: 1000 databases fit many times
)

// findingAdmin is the part of the help about where the admin server is.
const findingAdmin = `The running credproxy is found at --admin, else at the admin.listen that it runs
with: CREDPROXY_ADMIN_LISTEN, the configuration file's (-c), or 127.0.0.1:9090.`

// adminClient speaks with the admin server of a running credproxy.
type adminClient struct {
	address string // host:port
	from    string // what said so
	http    http.Client
}

// adminFlags gives a command the flags that say where the admin server is, and
// returns what makes the client.
func adminFlags(cmd *cobra.Command) func() (*adminClient, error) {
	var address, file string
	cmd.Flags().StringVar(&address, "admin", "", "address of the running credproxy's admin server, as host:port")
	configFlag(cmd, &file)
	return func() (*adminClient, error) {
		flag := cmd.Flags().Lookup("admin")
		return newAdminClient(address, origin(flag), file)
	}
}

func newAdminClient(address, from, file string) (*adminClient, error) {
	if address == "" {
		var err error
		if address, from, err = adminListen(file); err != nil {
			return nil, usageError{err}
		}
		if address == "" {
			return nil, usageError{fmt.Errorf("%s turns the admin server off, so a running credproxy cannot be asked", from)}
		}
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || port == "":
		return nil, usageError{fmt.Errorf("%s: %q is not host:port; write one such as 127.0.0.1:9090", from, address)}
	case port == "0":
		return nil, usageError{fmt.Errorf("%s: port 0 is another one at each start; give the one that credproxy said with --admin", from)}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // where a listener on all addresses is, too, and may be controlled
	}
	// A zero Transport asks no proxy of the environment: this is a matter of one machine.
	return &adminClient{address: net.JoinHostPort(host, port), from: from, http: http.Client{
		Transport: &http.Transport{DisableKeepAlives: true}, Timeout: clientTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// adminListen is the address that run listens on, and what says so.
func adminListen(file string) (address, from string, err error) {
	const key = "admin.listen"
	for _, s := range config.Settings() {
		if s.Key != key {
			continue
		}
		if address, given := os.LookupEnv(s.Env()); given {
			return address, s.Env(), nil
		}
		address, from = s.Default, "the default"
	}
	if file != "" {
		address, err = config.AdminListen(file)
		from = key + " of " + file
	}
	return address, from, err
}

// do sends a request and returns status and body. Its errors say what an operator
// would do.
func (c *adminClient) do(ctx context.Context, method, path string, body any) (int, []byte, error) {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, send)
	if err != nil {
		return 0, nil, usageError{fmt.Errorf("%s: %q is not host:port", c.from, c.address)}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.explain(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, nil, c.explain(err)
	}
	return res.StatusCode, answer, nil
}

func (c *adminClient) explain(err error) error {
	at := fmt.Sprintf("%s (%s)", c.address, c.from)
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens on %s: is credproxy running? If its admin.listen is another address, give it with --admin or name the file with -c", at)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case isNet && netErr.Timeout():
		return fmt.Errorf("%s does not answer: is it credproxy's admin server?", at)
	}
	return fmt.Errorf("ask %s: %w", at, err)
}

// ask sends a request that is answered by an admin.Answer: nil means yes, else
// the error has the reasons why not.
func (c *adminClient) ask(ctx context.Context, method, path string, body any) error {
	code, text, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	var answer admin.Answer
	if json.Unmarshal(text, &answer) != nil || !answer.OK && len(answer.Reasons) == 0 {
		return fmt.Errorf("what answers on %s (%s) is not this version of credproxy: %s", c.address, c.from, cmp.Or(http.StatusText(code), fmt.Sprint("HTTP status ", code)))
	}
	if code != http.StatusOK {
		return errors.New(visible(strings.Join(answer.Reasons, "; ")))
	}
	return nil
}

// ready tells why credproxy is not ready; nil means that it is.
func (c *adminClient) ready(ctx context.Context) error {
	return c.ask(ctx, http.MethodGet, "/readiness", nil)
}

// visible replaces what would move a terminal's cursor: texts can come from a
// database.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
