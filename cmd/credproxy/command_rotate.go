package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func rotateCommand() *cobra.Command {
	var dryRun bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate SECRET",
		Short: "Give a database user a new password, in the database and in its secret",
		Long: `Rotate rotates a secret from first to last: a new password under AWSPENDING, the same in
the database, a login with it, and AWSCURRENT moves. If a rotation function is attached
to the secret, rotate asks Secrets Manager to call it, and waits until it is done. If not,
rotate does all four steps itself, as the secret's own user or, with --master, as a
user who may change others. A rotation that was broken off goes on where it was.

--dry-run changes nothing: it logs in, looks for what would be in the way, and prints the
statements that would be run, without passwords.

Links to databases are verified TLS. AWS credentials come as for the AWS CLI; credproxy
policy --for rotate prints what they must allow.

Exit status: 0 done; 1 failed, with the step and what to do; 2 bad usage.`,
		Example: `  credproxy rotate prod/orders --dry-run
  credproxy rotate arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf
  credproxy rotate prod/orders --strategy alternating --master prod/master`,
		Args: usage(cobra.ExactArgs(1)),
	}
	prepare := rotationFlags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "look whether a rotation would work, and change nothing")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "give up after this long; the next rotate goes on from there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := prepare(args[0])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		if !dryRun {
			return r.Rotate(ctx, args[0])
		}
		lines, err := r.Preflight(ctx, args[0])
		for _, line := range lines {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing is in the way; nothing was changed")
		}
		return err
	}
	return cmd
}
