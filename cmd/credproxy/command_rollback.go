package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func rollbackCommand() *cobra.Command {
	var yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rollback SECRET",
		Short: "Go back to the credential before the last rotation",
		Long: `Rollback makes AWSPREVIOUS AWSCURRENT again. If a rotation was broken off, it goes back
to AWSCURRENT. The database comes first: if it does not take the password of that version,
it gets it. Then the labels move. In this order clients of credproxy notice nothing.

Rollback asks before it does anything, unless --yes is given. If it is broken off, call it
again: it goes on where it was. Called again when it is done, which AWSPREVIOUS shows by
being the newer of the two, it changes nothing: credproxy rotate leads forward.

Exit status: 0 done; 1 failed or not confirmed; 2 bad usage.`,
		Example: `  credproxy rollback prod/orders
  credproxy rollback prod/orders --yes`,
		Args: usage(cobra.ExactArgs(1)),
	}
	prepare := rotationFlags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "give up after this long; the next rollback goes on from there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := prepare(args[0])
		if err != nil {
			return err
		}
		plan, err := r.PlanRollback(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), plan.String())
		if !yes {
			fmt.Fprint(cmd.OutOrStdout(), "Go back? [y/N] ")
			const no = "not confirmed; nothing was changed (--yes answers for scripts)"
			stop := exitAtSignal(cmd.Context(), cmd.ErrOrStderr(), no)
			answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // none is no
			if a := strings.ToLower(strings.TrimSpace(answer)); !stop() || a != "y" && a != "yes" {
				return errors.New(no)
			}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		return plan.Run(ctx)
	}
	return cmd
}
