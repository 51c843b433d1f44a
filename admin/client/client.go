package client

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
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/credproxy/credproxy/admin"
)

const (
	requestTimeout = 10 * time.Second // for one request to the admin server
	maxAnswer      = 16 << 20         // bytes of its answer: 1000 databases fit many times
)

// Client asks the admin server of one running credproxy. [New] makes it.
type Client struct {
	address string   // host:port; "": turned off
	from    string   // what said so
	sockets []string // for control, in the order in which to try them
	http    http.Client
}

// New returns a Client of the admin server at address, which is host:port, or "" if it is
// turned off. control is admin.control. from names in errors what said so. The error is about
// the address: nothing is asked yet.
func New(address, control, from string) (*Client, error) {
	sockets := admin.ControlSockets(control, address)
	if address == "" {
		return &Client{from: from, sockets: sockets}, nil
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || port == "":
		return nil, fmt.Errorf("%s: %q is not host:port; write one such as 127.0.0.1:9090", from, address)
	case port == "0":
		return nil, fmt.Errorf("%s: port 0 is another one at each start; give the one that credproxy said with --admin", from)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // where a listener on all addresses is, too, and may be controlled
	}
	address = net.JoinHostPort(host, port)
	if _, err := url.Parse("http://" + address); err != nil {
		return nil, fmt.Errorf("%s: %q is not host:port", from, address)
	}
	// A zero Transport asks no proxy of the environment: this is a matter of one machine.
	return &Client{address: address, from: from, sockets: sockets, http: newHTTP(&http.Transport{DisableKeepAlives: true})}, nil
}

func newHTTP(t *http.Transport) http.Client {
	return http.Client{
		Transport: t, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// control returns the Client with which to ask for what only some users may: of the
// socket for that if somebody answers there, else of the admin server.
func (c *Client) control(ctx context.Context) *Client {
	for _, socket := range c.sockets {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			continue // not there, or not for this user
		}
		_ = conn.Close()
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
		return &Client{address: "localhost", from: "the control socket " + socket, http: newHTTP(&http.Transport{DisableKeepAlives: true, DialContext: dial})}
	}
	return c
}

// do sends a request and returns the answer's status and body.
func (c *Client) do(ctx context.Context, method, path string, body any) (int, []byte, error) {
	if c.address == "" {
		return 0, nil, notReached{fmt.Errorf("%s turns the admin server off, so a running credproxy cannot be asked", c.from)}
	}
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
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return 0, nil, notReached{c.explain(err)}
	}
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

// notReached is an error with which nobody has got the request.
type notReached struct{ error }

func (c *Client) explain(err error) error {
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

// ask sends a request that is answered by an [admin.Answer]. The error has the reasons
// why the answer is no.
func (c *Client) ask(ctx context.Context, method, path string, body any) error {
	code, text, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	return c.read(code, text, &admin.Answer{})
}

// read reads an answer. The error has the reasons why it is no.
func (c *Client) read(code int, text []byte, answer *admin.Answer) error {
	if json.Unmarshal(text, answer) != nil || !answer.OK && len(answer.Reasons) == 0 {
		return fmt.Errorf("what answers on %s (%s) is not this version of credproxy: %s", c.address, c.from, cmp.Or(http.StatusText(code), fmt.Sprint("HTTP status ", code)))
	}
	if code != http.StatusOK {
		return errors.New(Visible(strings.Join(answer.Reasons, "; ")))
	}
	return nil
}

// Visible replaces what would move a terminal's cursor: texts can come from a
// database.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
