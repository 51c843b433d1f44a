package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin"
)

func breakGlassCommand() *cobra.Command {
	var req admin.BreakGlassRequest
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "break-glass (--reason TEXT [--duration 15m] | --end)",
		Short: "Log in with the emergency credential, for a while",
		Long: `Break-glass makes a running credproxy log applications in with the credential of
break_glass.file instead of the normal one, for break_glass.max_duration at most.
Open sessions go on. The reason goes to the audit log and the status page. --end goes
back before the time is over.

` + findingAdmin + `
` + findingControl + `

Exit status: 0 done; 1 refused, with the reason; 2 bad usage.`,
		Example: `  credproxy break-glass --reason "secret deleted, INC-1234" --duration 30m
  credproxy break-glass --reason "rotation stuck" --database orders
  credproxy break-glass --end`,
		Args: usage(cobra.NoArgs),
	}
	client := adminFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&req.Reason, "reason", "", "why, for the audit log")
	flags.DurationVar(&duration, "duration", 0, "end it after this long (default: break_glass.max_duration)")
	flags.StringVar(&req.Database, "database", "", "only for this database (default: all that have an emergency credential)")
	flags.BoolVar(&req.End, "end", false, "go back to the normal credential")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req.Duration = admin.Duration(duration)
		switch {
		case req.End && (req.Reason != "" || duration != 0):
			return usageError{errors.New("--end goes without --reason and --duration")}
		case !req.End && strings.TrimSpace(req.Reason) == "":
			return usageError{errors.New("give --reason with a few words why; it goes to the audit log. Or --end, to go back to the normal credential")}
		case duration < 0:
			return usageError{fmt.Errorf("--duration: %s is negative", duration)}
		}
		c, err := client()
		if err != nil {
			return err
		}
		if err := c.BreakGlass(cmd.Context(), req); err != nil {
			return err
		}
		said := "logins use the emergency credential; credproxy break-glass --end goes back"
		if req.End {
			said = "logins use the normal credential"
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
		return err
	}
	return cmd
}
