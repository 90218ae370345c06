export { ApiError, reasonIn, statusWords } from './http';
export { Gateway } from './gateway';
export { readEvent, readEvents, type ServerEvent } from './events';
export {
  type Job,
  type JobState,
  type Phase,
  type PlayRequest,
  type Quality,
  type SegmentMap,
  type VideoChoice,
  orderOf,
  readJob,
} from './job';
export type * from './types';
