package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/credproxy/credproxy/admin"
)

// Ready reports why credproxy is not ready; nil means that it is.
func (c *Client) Ready(ctx context.Context) error {
	return c.ask(ctx, http.MethodGet, "/readiness", nil)
}

// ShutDown starts the drain.
func (c *Client) ShutDown(ctx context.Context) error {
	return c.control(ctx).ask(ctx, http.MethodPost, "/quitquitquit", nil)
}

// Upgrade has a new process take over, and returns when it has. It may take so long to be ready.
// The error is marked by [ErrNeedsRestart] if what runs cannot be asked for that.
func (c *Client) Upgrade(ctx context.Context, timeout time.Duration) (done admin.Upgraded, err error) {
	c = c.control(ctx)
	c.http.Timeout = timeout + upgradeGrace
	code, text, err := c.do(ctx, http.MethodPost, "/upgrade", admin.UpgradeRequest{Timeout: admin.Duration(timeout)})
	if ctx.Err() != nil {
		return done, err
	}
	if _, unreached := errors.AsType[notReached](err); unreached {
		return done, fmt.Errorf("%w: %w", ErrNeedsRestart, err)
	}
	if err != nil { // an upgrade may be under way, or done
		return done, err
	}
	answer := admin.Answer{Upgraded: &done}
	if err := c.read(code, text, &answer); code == http.StatusNotFound {
		return done, fmt.Errorf("%w: its version is too old", ErrNeedsRestart)
	} else if err != nil {
		return done, err
	}
	return done, nil
}

// ErrNeedsRestart marks the errors of an upgrade that cannot be asked for.
var ErrNeedsRestart = errors.New("the running credproxy cannot be asked to upgrade, only restarted")

// upgradeGrace is what an upgrade takes beside the wait until the new process is ready.
const upgradeGrace = 2 * time.Minute

// BreakGlass begins or ends the use of the emergency credential.
func (c *Client) BreakGlass(ctx context.Context, req admin.BreakGlassRequest) error {
	return c.control(ctx).ask(ctx, http.MethodPost, "/break-glass", req)
}

// Status returns what credproxy knows, and the JSON that says so.
func (c *Client) Status(ctx context.Context) (s admin.Status, text []byte, err error) {
	code, text, err := c.do(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return s, nil, err
	}
	if err := json.Unmarshal(text, &s); code != http.StatusOK || err != nil {
		return s, nil, fmt.Errorf("what answers on %s (%s) is not this version of credproxy: HTTP status %d", c.address, c.from, code)
	}
	return s, text, nil
}
