package client

import (
	"context"
	"fmt"
	"time"
)

// waitInterval is how long wait lets pass between two questions.
const waitInterval = 200 * time.Millisecond

// Wait returns when credproxy is ready. After timeout it gives up; 0 means never.
func (c *Client) Wait(ctx context.Context, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	var last error
	for {
		err := c.Ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // the last one was perhaps only cut short
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		switch ctx.Err() {
		case context.DeadlineExceeded:
			return fmt.Errorf("not ready after %s: %w", timeout, last)
		case context.Canceled:
			return fmt.Errorf("interrupted, not ready: %w", last)
		}
	}
}
