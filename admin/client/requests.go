package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

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
