package update

import (
	"context"
	"time"

	"github.com/trebuchet-update/tbupdate/core/generation"
)

// Condition says in one word how a machine stands.
type Condition string

// The conditions of a machine.
const (
	Idle        Condition = "idle"
	Updating    Condition = "updating"
	OnTrial     Condition = "trial"        // armed, or running unconfirmed
	RollingBack Condition = "rolling-back" // the next boot goes back
)

// Status says how a machine stands. The JSON names are a contract.
type Status struct {
	FS          string             `json:"fs"`
	Boot        string             `json:"boot"`
	Booted      generation.ID      `json:"booted"`
	Default     generation.ID      `json:"default"`
	Trial       generation.ID      `json:"trial"`
	Condition   Condition          `json:"state"`
	Generations []GenerationStatus `json:"generations"`

	// BootedFrom is the subvolume that was booted, for people.
	BootedFrom string `json:"booted_from"`
	// Foreign is the boot loader's default when it is none of ours.
	Foreign string `json:"foreign_default,omitempty"`
	// TriesLeft counts the boots that an armed trial still has, of Tries in all.
	TriesLeft int `json:"tries_left"`
	Tries     int `json:"tries,omitempty"`
	// TrialFailed says why the latest boot of the trial was given up; "" otherwise.
	TrialFailed string `json:"trial_failed,omitempty"`
	// InFlight is the operation that was cut short or is under way, nil for none.
	InFlight *generation.Operation `json:"in_flight,omitempty"`
}

// GenerationStatus is one generation of a Status.
type GenerationStatus struct {
	ID          generation.ID    `json:"id"`
	Version     string           `json:"version"`
	State       generation.State `json:"state"`
	Roles       []string         `json:"roles"`
	Tree        string           `json:"tree"`
	Kernel      string           `json:"kernel"`
	InstalledAt time.Time        `json:"installed_at"`
	Reason      string           `json:"reason"`
	// Present is false for a failed generation of which only the record is left.
	Present bool `json:"present"`
}

// Status reads how the machine stands. It changes nothing and does not wait for an
// update that is in progress.
func (m *Machine) Status(ctx context.Context) (*Status, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if err := s.requireLayout(ctx); err != nil {
		return nil, explain(err, nothingChanged)
	}
	booted, subvolume, err := s.booted(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	loader, err := s.Boot.State(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	status := &Status{
		FS: s.FSPlugin.Name, Boot: s.BootPlugin.Name, BootedFrom: describe(subvolume),
		Default: generation.ID(loader.Default), Foreign: loader.Foreign, TriesLeft: loader.TriesLeft,
		Condition: s.condition(booted), InFlight: s.journal.Operation, Generations: []GenerationStatus{},
	}
	if booted != nil {
		status.Booted = booted.ID
	}
	if trial := s.journal.Trial; trial != nil {
		status.Trial, status.Tries = trial.ID, trial.Tries
		if n := len(trial.Boots); n > 0 {
			status.TrialFailed = trial.Boots[n-1].Failed
		}
	}
	for _, g := range s.journal.Generations {
		status.Generations = append(status.Generations, GenerationStatus{
			ID: g.ID, Version: g.Version, State: g.State, Roles: s.journal.Roles.Of(g.ID), Tree: g.Tree,
			Kernel: g.Kernel, InstalledAt: g.InstalledAt, Reason: g.Reason, Present: g.Present(),
		})
	}
	return status, nil
}

// condition sums the journal up in one word.
func (s *session) condition(booted *generation.Generation) Condition {
	switch op := s.journal.Operation; {
	case op != nil && (op.Kind == generation.Rollback || op.Kind == generation.FallBack):
		return RollingBack
	case op != nil:
		return Updating
	case s.journal.Trial != nil:
		return OnTrial
	case booted != nil && booted.ID != s.journal.Roles.Root:
		return RollingBack
	}
	return Idle
}

// History gives what was tried on this machine, oldest first.
func (m *Machine) History(ctx context.Context) ([]generation.Event, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	events, err := s.store.History(ctx)
	return events, explain(err, nothingChanged)
}
