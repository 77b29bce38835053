/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.pml - the run ledger of DBUpgrade. See README.md.
   Variants (-D): LIT = the protocol without any of the rules; default = with all fixes F1..F7.
     NO_F1..NO_F7 : the fixed protocol without that one fix (ablation).
   Environment (-D): USPEC=n spec changes, URETRY=n, UJOBDEL=n, UOBJ=n (delete+recreate), NFAIL=n,
     STALEJC (job controller may create a pod for a Job already deleted), LIVE (liveness: bounded
     staleness STALE=n and crashes CRASH=n), S4STRICT, S5, S6.                                          */
#ifdef LIT
#define NO_F1
#define NO_F2
#define NO_F3
#define NO_F3O
#define NO_F4
#define NO_F5
#define NO_F6
#define NO_F7
#endif
#ifndef NJ
#define NJ 6
#endif
#define NONE NJ
#ifndef USPEC
#define USPEC 2
#endif
#ifndef URETRY
#define URETRY 0
#endif
#ifndef UJOBDEL
#define UJOBDEL 0
#endif
#ifndef UOBJ
#define UOBJ 0
#endif
#ifndef NFAIL
#define NFAIL 0
#endif
#ifndef STALE
#define STALE 2
#endif
#ifndef CRASH
#define CRASH 1
#endif
#define MAXRUN 7
/* ledger result */
#define NIL 0
#define STARTING 1
#define RUNNING 2
#define SUPERSEDING 3
#define SUCC 4
#define FAILED 5
#define LOST 6
#define SUPERSEDED 7
/* Job phase: 0 absent 1 suspended 2 active 3 complete 4 failed (phase stands for resourceVersion:
   it only grows, so "same phase" = "same rv" for every precondition used).  Slot index = Job UID:
   a slot is reused only when nothing refers to it any more. */
byte jph[NJ]; byte jmax[NJ]; bit jdel[NJ];
byte jnum[NJ]; byte juid[NJ]; byte jspec[NJ]; byte jret[NJ];
byte pod[NJ];     /* 0 none 1 pending 2 executing 3 succeeded 4 failed 5 = stale job controller may still create it */
/* the object at the API server */
bit oex = 1; byte ouid = 1; byte ospec = 1; byte oret = 0;
byte lnum = 0; byte ljob = NONE; byte lkey = 0; byte lret = 0; byte lres = NIL; byte lapp = 0; byte lhand = 0;
bit gcold = 0;    /* object uid 1 was deleted with background propagation */
/* replicas' snapshots; fr[r] = the snapshot's resourceVersion is the server's */
bit fr[2];
bit sex[2]; byte suid[2]; byte sspec[2]; byte sret[2];
byte snum[2]; byte sjob[2]; byte skey[2]; byte slret[2]; byte sres[2]; byte sapp[2]; byte shand[2];
byte tj[2];
/* ghosts */
byte nexec = 0; byte lastsucc = 0; bit since = 0; bit acted = 1; bit blamed = 0;
byte nfail = NFAIL;
#ifdef LIVE
byte stale = STALE; byte crash = CRASH;
#define STALE_OK (stale > 0)
#define USESTALE stale = stale - 1
#define CRASHPT if :: skip :: atomic { crash > 0 -> crash--; goto top } fi
#else
#define STALE_OK true
#define USESTALE skip
#define CRASHPT if :: skip :: goto top fi
#endif

#define READY (lapp == ospec && lhand == oret)
#define S2 (!oex || lapp == 0 || (lastsucc == lapp && !since))

inline wr() { fr[0] = 0; fr[1] = 0 }
inline snap(r) {
  fr[r] = 1; sex[r] = oex; suid[r] = ouid; sspec[r] = ospec; sret[r] = oret; snum[r] = lnum; sjob[r] = ljob;
  skey[r] = lkey; slret[r] = lret; sres[r] = lres; sapp[r] = lapp; shand[r] = lhand }
/* after its own write a replica has the answer (fresh) or still its old cache */
inline aftwrite(r) { if :: snap(r) :: STALE_OK -> USESTALE fi }

inline readjob(s) {   /* the Job cache: the present state or any earlier one */
  if
  :: v = (jdel[s] -> 9 : jph[s])
  :: STALE_OK && jph[s] != 0 -> v = 0; USESTALE
  :: STALE_OK && jmax[s] >= 1 && (jph[s] != 1 || jdel[s]) -> v = 1; USESTALE
  :: STALE_OK && jmax[s] >= 2 && (jph[s] != 2 || jdel[s]) -> v = 2; USESTALE
  :: STALE_OK && jmax[s] >= 3 && jph[s] != jmax[s] -> v = jmax[s]; USESTALE
  fi }
#define ISFREE(s) (jph[s]==0 && pod[s]==0 && ljob!=s && sjob[0]!=s && sjob[1]!=s && tj[0]!=s && tj[1]!=s)
inline gone(s) {      /* the Job object disappears at once (background): its pod may go on */
  jph[s] = 0; jdel[s] = 0; jnum[s] = 0; juid[s] = 0; jret[s] = 0;
  if :: pod[s] >= 3 -> pod[s] = 0 
#ifdef STALEJC
     :: pod[s] == 0 && jmax[s] == 2 -> pod[s] = 5
     :: else -> skip fi }
#else
     :: else -> skip fi }
#endif
inline norm() {  /* forget Jobs that nothing refers to (canonical states) */
  i = 0; do :: i < NJ -> if :: ISFREE(i) -> jmax[i] = 0; jspec[i] = 0 :: else fi; i++ :: else -> break od; i = 0 }
#define STARTED(s) (pod[s] >= 2 && pod[s] <= 4)
#define SAMENAME(s,r) (jph[s]!=0 && juid[s]==suid[r] && jnum[s]==snum[r]+1 && jspec[s]==sspec[r] && jret[s]==sret[r])
/* which foreign Job may be deleted as an orphan, seen from replica r's snapshot */
#ifdef NO_F2
#define ORPHAN(s,r) (s != sjob[r])
#else
#define ORPHAN(s,r) (s != sjob[r] && juid[s] == suid[r] && jnum[s] <= snum[r])
#endif

proctype R(byte r) {
  byte v, i;
top:
  atomic { tj[r] = NONE; v = 0; norm();
  if
  :: !fr[r] -> snap(r); norm(); goto top
#ifdef LIVE
  :: fr[r] || stale > 0 -> if :: fr[r] :: else -> stale-- fi
  :: r == 1 -> goto dead
#else
  :: true
#endif
  fi;
  if :: !sex[r] ->
#ifdef LIVE
        (!fr[r]);
#endif
        goto top
     :: else fi }
  if
#if defined(NO_F2) 
  :: atomic { /* orphan clean-up in any pass, from the cache (without a list) */
     i = 0; do :: i < NJ-1 -> i++ :: break od;
     if :: jmax[i] >= 1 && jph[i] == 1 && !jdel[i] && ORPHAN(i, r) -> gone(i) :: else fi; goto top }
#elif !defined(LIVE)
  :: atomic { i = 0; do :: i < NJ-1 -> i++ :: break od;
     if :: jph[i] == 1 && !jdel[i] && ORPHAN(i, r) -> gone(i) :: else fi; goto top }
#endif
  :: atomic { sres[r] == STARTING || sres[r] == RUNNING || sres[r] == SUPERSEDING -> readjob(sjob[r]) }
     goto follow
  :: atomic { sres[r] == NIL || sres[r] >= SUCC ->
     if :: sapp[r] == sspec[r] && sret[r] == shand[r] ->
#ifdef LIVE
           (!fr[r]);
#endif
           goto top
        :: else fi;
     if :: (sres[r] == FAILED || sres[r] == LOST) && skey[r] == sspec[r] && sret[r] == slret[r] ->
#ifdef LIVE
           (!fr[r]);
#endif
           goto top
        :: else fi }
     goto start
  fi;

start: /* step 2: POST suspended */
  skip;
  d_step { i = 0;
    do :: i < NJ && !SAMENAME(i, r) -> i++ :: else -> break od;
    if :: i < NJ -> /* 409: read it */
#ifndef NO_F6
          if :: jdel[i] || jph[i] != 1 -> v = 99 :: else -> tj[r] = i fi
#else
          tj[r] = i
#endif
       :: else ->
          i = 0; do :: i < NJ && !ISFREE(i) -> i++ :: else -> break od;
          if :: i == NJ ->
#ifdef FULLCHECK
                assert(false);
#endif
                v = 99   /* at most NJ Jobs exist or are remembered at a time */
             :: else ->
                jph[i] = 1; jmax[i] = 1; jnum[i] = snum[r]+1; juid[i] = suid[r]; jspec[i] = sspec[r]; jret[i] = sret[r];
                tj[r] = i
          fi
    fi; i = 0 }
  if :: v == 99 -> goto top :: else fi;
  CRASHPT;
  /* step 3: the ledger names it */
  atomic {
    if :: !fr[r] -> goto top :: else fi;
    assert(lapp != ospec || oret != lhand);              /* S3 */
    assert(acted); acted = 0;                            /* S3': one start per act of the user */
    assert(lnum < MAXRUN);
    lnum = lnum + 1; ljob = tj[r]; lkey = ospec; lret = oret; lres = STARTING; lapp = 0;
#ifndef NO_F7
    lhand = oret;
#endif
    wr(); aftwrite(r); goto top }

follow:
  if
  :: atomic { v == 3 -> if :: fr[r] -> lres = SUCC; lapp = lkey; wr(); assert(S2); aftwrite(r) :: else fi; goto top }
  :: atomic { v == 4 -> if :: fr[r] -> lres = FAILED; wr(); aftwrite(r) :: else fi; goto top }
  :: atomic { v == 9 -> goto top }
  :: v == 0 ->
#ifndef NO_F1
     if :: jph[sjob[r]] != 0 -> goto top :: else fi;    /* consistent GET, by UID */
     CRASHPT;
#endif
     atomic { if :: fr[r] -> lres = (lres == SUPERSEDING -> SUPERSEDED : LOST); 
#ifdef S6
     assert(lres != LOST || blamed);                     /* S6 */
#endif
     wr(); aftwrite(r) :: else fi; goto top }
  :: (v == 1 || v == 2) ->
     if
#ifdef NO_F4
     :: atomic { sspec[r] != skey[r] && (!STARTED(sjob[r]) || STALE_OK) ->
          if :: STARTED(sjob[r]) -> USESTALE :: else fi }
        CRASHPT;
        atomic { if :: jph[sjob[r]] == v && !jdel[sjob[r]] -> jdel[sjob[r]] = 1
#ifdef S5
          ; assert(pod[sjob[r]] != 2)
#endif
                    :: else -> goto top fi }
        CRASHPT;
        atomic { if :: fr[r] -> lres = SUPERSEDED; wr(); aftwrite(r) :: else fi; goto top }
#else
     :: atomic { sres[r] != SUPERSEDING && sspec[r] != skey[r] && (!STARTED(sjob[r]) || STALE_OK) ->
          if :: STARTED(sjob[r]) -> USESTALE :: else fi }
        atomic { if :: fr[r] -> lres = SUPERSEDING; wr(); aftwrite(r) :: else fi; goto top }
     :: sres[r] == SUPERSEDING && !STARTED(sjob[r]) ->      /* consistent LIST of Pods */
        CRASHPT;
        atomic { if :: jph[sjob[r]] == v && !jdel[sjob[r]] -> jdel[sjob[r]] = 1
#ifdef S5
          ; assert(pod[sjob[r]] != 2)
#endif
                    :: else fi; goto top }
     :: sres[r] == SUPERSEDING && STARTED(sjob[r]) -> goto top   /* one way: follow it to its end, never back to Running */
#endif
     :: atomic { (sspec[r] == skey[r] || (STARTED(sjob[r])) ) && sres[r] != SUPERSEDING ->
          if :: v == 2 && sres[r] == STARTING -> if :: fr[r] -> lres = RUNNING; wr(); aftwrite(r) :: else fi; goto top
             :: v == 1 && sres[r] == STARTING -> skip
             :: else -> goto top fi }
        goto list
     fi
  fi;

list: /* step 4 */
#ifdef NO_F3O
  atomic { i = 0; do :: i < NJ && pod[i] != 1 && pod[i] != 2 -> i++ :: else -> break od;
    if :: i < NJ -> goto top :: else -> i = 0 fi }
  CRASHPT;
#endif
#ifdef NO_F3
  if :: snum[r] > 1 -> goto list2 :: else fi;
#endif
  atomic { i = 0; do :: i < NJ && (i == sjob[r] || jph[i] == 0 || jph[i] >= 3) -> i++ :: else -> break od;
    if :: i == NJ -> i = 0; goto list2
       :: i < NJ && jph[i] == 1 && !jdel[i] -> tj[r] = i   /* keep its UID referenced */
       :: else -> goto top fi }
  /* an unnamed suspended Job blocks: same owner = older run, delete; other owner: delete only if we are the present object */
#ifdef NO_F2
  atomic { if :: jph[i] == 1 && !jdel[i] -> gone(i) :: else fi; goto top }
#else
  if :: ORPHAN(i, r) -> skip
     :: juid[i] != suid[r] && oex && ouid == suid[r] -> skip      /* consistent GET of the object after the LIST */
     :: else -> goto top fi;
  atomic { if :: jph[i] == 1 && !jdel[i] -> gone(i) :: else fi; goto top }
#endif
list2:
#ifndef NO_F3O
  atomic { i = 0; do :: i < NJ && pod[i] != 1 && pod[i] != 2 -> i++ :: else -> break od;
    if :: i < NJ -> goto top :: else -> i = 0 fi }
#endif
  CRASHPT;
  /* step 5: PATCH suspend:false with the Job's resourceVersion */
  atomic { 
    if :: jph[sjob[r]] == 1 && !jdel[sjob[r]] ->
#ifdef S4STRICT
          assert(oex && ljob == sjob[r]);                                                /* S4 */
#else
          assert(!oex || ouid != juid[sjob[r]] || ljob == sjob[r]);                      /* S4 */
#endif
          jph[sjob[r]] = 2; jmax[sjob[r]] = 2
       :: else fi; goto top }
dead: skip
}

proctype Env(byte s) {   /* job controller, kubelet, TTL and garbage collector for one Job slot */
end:  do
  :: atomic { jph[s] == 2 && !jdel[s] && pod[s] == 0 -> pod[s] = 1 }
  :: atomic { pod[s] == 1 -> pod[s] = 2; nexec++; since = 1; assert(nexec == 1) /* S1 */; assert(S2) }
  :: atomic { pod[s] == 2 -> nexec--; lastsucc = jspec[s]; since = 0; pod[s] = (jph[s] == 0 -> 0 : 3); assert(S2) }
  :: atomic { pod[s] == 2 && nfail > 0 -> nfail--; nexec--; pod[s] = (jph[s] == 0 -> 0 : 4) }
  :: atomic { jph[s] == 2 && pod[s] == 3 -> jph[s] = 3; jmax[s] = 3 }
  :: atomic { jph[s] == 2 && pod[s] == 4 -> jph[s] = 4; jmax[s] = 4 }
  /* TTL, or the operator's clean-up of finished Jobs */
#ifdef NO_F5
  :: atomic { jph[s] >= 3 -> gone(s) }
#else
  :: atomic { jph[s] >= 3 && (ljob != s || lres >= SUCC) -> gone(s) }
#endif
  /* pods of a deleted (or foreground-deleting) Job: killed */
  :: atomic { (jph[s] == 0 || jdel[s]) && pod[s] == 1 -> pod[s] = 0 }
  :: atomic { (jph[s] == 0 || jdel[s]) && pod[s] == 2 -> nexec--; pod[s] = 0 }
  :: atomic { jdel[s] && (pod[s] == 0 || pod[s] >= 3) -> gone(s) }
#ifdef STALEJC
  :: atomic { pod[s] == 5 -> pod[s] = 1 }
  :: atomic { pod[s] == 5 -> pod[s] = 0 }
#endif
#if UOBJ
  :: atomic { gcold && juid[s] == 1 && jph[s] != 0 -> gone(s) }
#endif
  od }

proctype User() {
  byte n = USPEC, q = URETRY, d = UJOBDEL, o = UOBJ, i;
end:  do
#if USPEC
  :: atomic { oex && n > 0 -> n--; ospec = 3 - ospec; acted = 1; wr() }
#endif
#if URETRY
  :: atomic { oex && q > 0 -> q--; oret++; acted = 1; wr() }
#endif
#if UJOBDEL
  :: atomic { d > 0 -> i = 0; do :: i < NJ-1 -> i++ :: break od;
       if :: jph[i] != 0 -> d--; if :: !(jph[i] >= 3 && i == ljob && lres >= SUCC) -> blamed = 1 :: else fi; gone(i) :: else fi; i = 0 }
#endif
#if UOBJ
  :: atomic { oex && o > 0 -> o--; oex = 0; ouid = 0; ospec = 0; oret = 0; lnum = 0; ljob = NONE; lkey = 0; lret = 0; lres = 0; lapp = 0; lhand = 0; wr();
       if :: gcold = 1 :: gcold = 0 fi }
     atomic { oex = 1; ouid = 2; if :: ospec = 1 :: ospec = 2 fi; acted = 1; wr() }
#endif
  :: break
  od }

init { atomic {
  byte k;
  sjob[0] = NONE; sjob[1] = NONE; tj[0] = NONE; tj[1] = NONE;
#ifdef INIT3   /* start just after: uid 1's Job was unsuspended, no pod yet; object deleted (orphan) and recreated */
  ouid = 2; jph[0] = 2; jmax[0] = 2; jnum[0] = 1; juid[0] = 1; jspec[0] = 1;
#endif
#ifdef INIT4   /* same, but uid 1's Job is still suspended and replica 0 is paused with uid 1's ledger naming it */
  ouid = 1; jph[0] = 1; jmax[0] = 1; jnum[0] = 1; juid[0] = 1; jspec[0] = 1;
  lnum = 1; ljob = 0; lkey = 1; lres = STARTING; snap(0); snap(1);
  ouid = 2; lnum = 0; ljob = NONE; lkey = 0; lres = NIL; wr();
#endif
  run R(0); run R(1); run User();
  for (k : 0 .. NJ-1) { run Env(k) } } }

#ifdef LIVE
ltl l1 { <>[] (oex && (READY || (blamed && lres == LOST && lkey == ospec && lret == oret))) }
#endif
