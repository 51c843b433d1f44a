package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/admin/client"
)

func upgradeCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Put a new process in the place of a running credproxy",
		Long: `Upgrade has a running credproxy start its program again, as it is on the disk by now, with
the same arguments and environment. The new process gets the open listeners and reads the
configuration. When it has its credentials, and each database that worked has accepted one,
it accepts in place of the old one, which keeps its sessions until they end, for
shutdown.upgrade_timeout at most. No connection is refused and no session is cut. A new
process that does not get there changes nothing, and the command says why. SIGUSR2 starts
the same.

It works on Linux, outside of containers in which credproxy is process 1.

` + findingAdmin + `
` + findingControl + `

Exit status: 0 the new process serves; 1 it does not, and the old one goes on; 2 bad usage;
3 what runs cannot be asked, for it is too old or nobody answers: restart it.`,
		Example: `  credproxy upgrade -c /etc/credproxy/credproxy.yaml`,
		Args:    usage(cobra.NoArgs),
	}
	asks := adminFlags(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", admin.UpgradeTimeout, "give the new process this long to be ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := asks()
		if err != nil {
			return err
		}
		if timeout <= 0 || timeout > admin.MaxUpgradeTimeout {
			return usageError{fmt.Errorf("--timeout: %s is not valid here; write a duration above 0s, and %s at most", timeout, admin.MaxUpgradeTimeout)}
		}
		done, err := c.Upgrade(cmd.Context(), timeout)
		if errors.Is(err, client.ErrNeedsRestart) {
			return restartError{err}
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "process %d serves now; sessions left with the old one: %d\n", done.PID, done.SessionsLeft)
		return err
	}
	return cmd
}
